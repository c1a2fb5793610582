"""FTP's launches: the base update with the candidate's row norms, γ, the projection of the rows."""

import triton
import triton.language as tl

from digrap.optim import ftp
from digrap.optim.kernels.triton_parts import (
    ANCHOR,
    DELTA,
    FIRST,
    FIRST_ROW,
    GRAD,
    INNER,
    KIND,
    LENGTH,
    PARAM,
    PARTS,
    ROWS,
    RULE,
    SCALARS,
    SECOND,
    SHORT,
    WIDTH,
    added,
    at,
    base_numbers,
    base_update,
    displacement,
    field,
    finite,
    learnt,
    piece,
    row_added,
    step_count,
    tile,
)  # fmt: skip

TINY = tl.constexpr(ftp.TINY)
# Columns of the scratch rows: h; of a divided row <g, c>, ‖c‖₁ of the previous step and ‖c‖₁.
H, GC, OLD, NEW = (tl.constexpr(i) for i in range(4))
K, MU = (tl.constexpr(RULE.value + i) for i in range(2))


@triton.jit
def update_piece(
    addresses, numbers, fields, sums, row_sums, i, program,
    DOWN: tl.constexpr, ACROSS: tl.constexpr, ZERO: tl.constexpr, BASE: tl.constexpr, CAPTURABLE: tl.constexpr,
    COUNT: tl.constexpr, DT: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    """θ ← θ', c ← θ' − θ0, the norms of the program's rows and its sums, in tiles of (DOWN elements, ACROSS rows)."""
    of_base = base_numbers(addresses, numbers, i, COUNT, BASE, CAPTURABLE, NUM)
    grad, param = at(addresses, i, GRAD, COUNT, DT), at(addresses, i, PARAM, COUNT, DT)
    moment, second = at(addresses, i, FIRST, COUNT, DT), at(addresses, i, SECOND, COUNT, DT)
    anchor, candidate = at(addresses, i, ANCHOR, COUNT, DT), at(addresses, i, DELTA, COUNT, DT)
    first, last, start, end = piece(fields, i, program)
    length, inner = field(fields, i, LENGTH), field(fields, i, INNER)
    norms = row_sums + field(fields, i, FIRST_ROW)
    kept = tl.where(field(fields, i, PARTS) == 1, last, first)  # no norm is whole where the row is divided
    h = tl.full((ACROSS,), 0.0, NUM)
    scratch = sums + program.to(tl.int64) * WIDTH
    for row in range(first, last, ACROSS):
        gc = tl.full((DOWN, ACROSS), 0.0, NUM)
        old = tl.full((DOWN, ACROSS), 0.0, NUM)
        new = tl.full((DOWN, ACROSS), 0.0, NUM)
        for begin in range(start, end, DOWN):
            offsets, mask = tile(row, last, begin, end, length, inner, DOWN, ACROSS, False)
            g = tl.load(grad + offsets, mask=mask, other=0.0).to(NUM)
            c = tl.load(candidate + offsets, mask=mask, other=0.0).to(NUM)
            gc += g * c
            old += tl.abs(c)
            theta = tl.load(param + offsets, mask=mask, other=0.0).to(NUM)
            theta = base_update(theta, g, moment + offsets, second + offsets, mask, of_base, BASE, NUM)
            theta = theta.to(DT)
            tl.store(param + offsets, theta, mask=mask)
            c = displacement(theta.to(NUM), anchor + offsets, mask, ZERO, DT, NUM)
            tl.store(candidate + offsets, c.to(DT), mask=mask)
            new += tl.abs(c)
        row_gc, row_old, row_new = tl.sum(gc, axis=0), tl.sum(old, axis=0), tl.sum(new, axis=0)
        rows = row + tl.arange(0, ACROSS).to(tl.int64)
        tl.store(norms + rows, row_new + TINY, mask=rows < kept)
        h += row_gc / (row_old + TINY)
        tl.store(scratch + GC, tl.sum(row_gc, axis=0))  # of use where the program has a part of one row
        tl.store(scratch + OLD, tl.sum(row_old, axis=0))
        tl.store(scratch + NEW, tl.sum(row_new, axis=0))
    tl.store(scratch + H, tl.sum(h, axis=0))


@triton.jit
def update(
    addresses, numbers, owner, fields, sums, row_sums,
    ZERO: tl.constexpr, BASE: tl.constexpr, CAPTURABLE: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr,
    NARROW: tl.constexpr, DT: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    i = tl.load(owner + program)
    if field(fields, i, KIND) == SHORT:
        update_piece(
            addresses, numbers, fields, sums, row_sums, i, program,
            NARROW, BLOCK // NARROW, ZERO, BASE, CAPTURABLE, COUNT, DT, NUM,
        )  # fmt: skip
    else:
        update_piece(
            addresses, numbers, fields, sums, row_sums, i, program, BLOCK, 1, ZERO, BASE, CAPTURABLE, COUNT, DT, NUM
        )


@triton.jit
def bound(
    addresses, numbers, fields, sums, row_sums, results,
    CAPTURABLE: tl.constexpr, COUNT: tl.constexpr, CHUNK: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    """One program per tensor: γ, in the state and in results[i]; the norms of divided rows."""
    i = tl.program_id(0)
    rows = field(fields, i, ROWS)
    norms = row_sums + field(fields, i, FIRST_ROW)
    largest = tl.full((), -1.0, NUM)
    if field(fields, i, PARTS) > 1:
        h = tl.full((), 0.0, NUM)
        for row in range(rows):
            gc = row_added(sums, fields, i, row, GC, CHUNK, NUM)
            h += gc / (row_added(sums, fields, i, row, OLD, CHUNK, NUM) + TINY)
            norm = row_added(sums, fields, i, row, NEW, CHUNK, NUM) + TINY
            tl.store(norms + row, norm)
            largest = tl.maximum(largest, tl.where(finite(norm), norm, -1.0))
    else:
        h = added(sums, fields, i, H, CHUNK, NUM)
        for k in range(0, rows, CHUNK):
            index = k + tl.arange(0, CHUNK)
            norm = tl.load(norms + index, mask=index < rows, other=-1.0)
            largest = tl.maximum(largest, tl.max(tl.where(finite(norm), norm, -1.0), axis=0))
    t = step_count(addresses, numbers, i, COUNT, CAPTURABLE)
    h = tl.where(h > 0, tl.load(numbers + K).to(NUM) * h, h)
    gamma = learnt(addresses, i, h, tl.load(numbers + MU).to(NUM), t, SCALARS, COUNT, NUM)
    gamma = tl.maximum(gamma, TINY)
    gamma = tl.where(largest > 0, tl.minimum(gamma, largest), gamma)
    tl.store(at(addresses, i, SCALARS, COUNT, NUM), gamma)
    tl.store(results + i, gamma)


@triton.jit
def shrink_piece(
    addresses, fields, row_sums, gamma, i, program,
    DOWN: tl.constexpr, ACROSS: tl.constexpr, ZERO: tl.constexpr, COUNT: tl.constexpr, DT: tl.constexpr,
    NUM: tl.constexpr,
):  # fmt: skip
    """θ ← θ0 + ratio (θ' − θ0) on rows whose norm is above γ; the others are not read."""
    param, anchor = at(addresses, i, PARAM, COUNT, DT), at(addresses, i, ANCHOR, COUNT, DT)
    first, last, start, end = piece(fields, i, program)
    length, inner = field(fields, i, LENGTH), field(fields, i, INNER)
    norms = row_sums + field(fields, i, FIRST_ROW)
    for row in range(first, last, ACROSS):
        rows = row + tl.arange(0, ACROSS).to(tl.int64)
        norm = tl.load(norms + rows, mask=rows < last, other=0.0)
        outside = finite(norm) & (norm > gamma)
        ratio = tl.where(outside, gamma / tl.where(outside, norm, 1.0), 1.0)[None, :]
        for begin in range(start, end, DOWN):
            offsets, mask = tile(row, last, begin, end, length, inner, DOWN, ACROSS, False)
            mask = mask & outside[None, :]
            theta = tl.load(param + offsets, mask=mask, other=0.0).to(NUM)
            if ZERO:
                theta = theta * ratio
            else:
                origin = tl.load(anchor + offsets, mask=mask, other=0.0).to(NUM)
                theta = origin + ratio * (theta - origin)
            tl.store(param + offsets, theta.to(DT), mask=mask)


@triton.jit
def shrink(
    addresses, owner, fields, row_sums, results,
    ZERO: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr, NARROW: tl.constexpr, DT: tl.constexpr,
    NUM: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    i = tl.load(owner + program)
    gamma = tl.load(results + i)
    if field(fields, i, KIND) == SHORT:
        shrink_piece(addresses, fields, row_sums, gamma, i, program, NARROW, BLOCK // NARROW, ZERO, COUNT, DT, NUM)
    else:
        shrink_piece(addresses, fields, row_sums, gamma, i, program, BLOCK, 1, ZERO, COUNT, DT, NUM)
