"""DiGraP's launches: sums of g and δ with δ stored, ω and the factor of δ, the update."""

import triton
import triton.language as tl

from digrap.optim.digrap import TINY
from digrap.optim.kernels.triton_parts import (
    ANCHOR,
    DELTA,
    GRAD,
    INNER,
    KIND,
    LENGTH,
    LR,
    PARAM,
    PARTS,
    ROWS,
    RULE,
    SCALARS,
    SHORT,
    WIDE,
    WIDTH,
    added,
    at,
    displacement,
    field,
    finite,
    learnt,
    piece,
    row_added,
    step_count,
    tile,
)  # fmt: skip

TINY = tl.constexpr(TINY)
# Columns of the scratch rows: Σ g·x, Σ g², Σ x² with x = δ of the previous step (h in the first, where the program sees
# whole rows), <g, δ>, <δ, δ>.
GX, GG, XX, GD, DD = (tl.constexpr(i) for i in range(5))
# The rule's numbers, from RULE on, and the order of its per-tensor numbers.
LAM, MU, OMEGA_MAX, OMEGA = (tl.constexpr(RULE.value + i) for i in range(4))


@triton.jit
def hyper_gradient(gx, gg, xx, c):
    """h of rows with sums gx, gg, xx for p_{t−1} = c x: Σ unit(g) ⊙ unit(c x)."""
    return c * gx / (tl.maximum(tl.sqrt(gg), TINY) * tl.maximum(tl.abs(c) * tl.sqrt(xx), TINY))


@triton.jit
def reduce_piece(
    addresses, fields, sums, i, program,
    DOWN: tl.constexpr, ACROSS: tl.constexpr, STRIDED: tl.constexpr, UNITS: tl.constexpr, LEARNT: tl.constexpr,
    ZERO: tl.constexpr, COUNT: tl.constexpr, DT: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    """The program's sums, in tiles of (DOWN elements, ACROSS rows); δ is stored over that of the previous step."""
    grad, param = at(addresses, i, GRAD, COUNT, DT), at(addresses, i, PARAM, COUNT, DT)
    anchor, delta = at(addresses, i, ANCHOR, COUNT, DT), at(addresses, i, DELTA, COUNT, DT)
    first, last, start, end = piece(fields, i, program)
    length, inner = field(fields, i, LENGTH), field(fields, i, INNER)
    whole = field(fields, i, PARTS) == 1  # the program sees its rows from end to end
    c = tl.full((), 1.0, NUM)
    if LEARNT:
        c = tl.load(at(addresses, i, SCALARS + 3, COUNT, NUM))
    h = tl.full((ACROSS,), 0.0, NUM)
    total_gx = tl.full((ACROSS,), 0.0, NUM)
    total_gg = tl.full((ACROSS,), 0.0, NUM)
    total_xx = tl.full((ACROSS,), 0.0, NUM)
    d = tl.full((DOWN, ACROSS), 0.0, NUM)
    n = tl.full((DOWN, ACROSS), 0.0, NUM)
    for row in range(first, last, ACROSS):
        gx = tl.full((DOWN, ACROSS), 0.0, NUM)
        gg = tl.full((DOWN, ACROSS), 0.0, NUM)
        xx = tl.full((DOWN, ACROSS), 0.0, NUM)
        for begin in range(start, end, DOWN):
            offsets, mask = tile(row, last, begin, end, length, inner, DOWN, ACROSS, STRIDED)
            g = tl.load(grad + offsets, mask=mask, other=0.0).to(NUM)
            theta = tl.load(param + offsets, mask=mask, other=0.0).to(NUM)
            new = displacement(theta, anchor + offsets, mask, ZERO, DT, NUM)
            if LEARNT:
                x = tl.load(delta + offsets, mask=mask, other=0.0).to(NUM)
                tl.store(delta + offsets, new.to(DT), mask=mask)
                gx += g * x
                xx += x * x
            gg += g * g
            d += g * new
            n += new * new
        total_gg += tl.sum(gg, axis=0)
        if LEARNT:
            row_gx, row_gg, row_xx = tl.sum(gx, axis=0), tl.sum(gg, axis=0), tl.sum(xx, axis=0)
            h += hyper_gradient(row_gx, row_gg, row_xx, c)
            total_gx += row_gx
            total_xx += row_xx
    row = sums + program.to(tl.int64) * WIDTH
    if LEARNT:
        h = tl.sum(h, axis=0)
        gx = tl.sum(total_gx, axis=0)
        if UNITS:
            gx = tl.where(whole, h, gx)
        tl.store(row + GX, gx)
        tl.store(row + XX, tl.sum(total_xx, axis=0))
    tl.store(row + GG, tl.sum(total_gg, axis=0))
    tl.store(row + GD, tl.sum(tl.sum(d, axis=0), axis=0))
    tl.store(row + DD, tl.sum(tl.sum(n, axis=0), axis=0))


@triton.jit
def reduce(
    addresses, owner, fields, sums,
    UNITS: tl.constexpr, LEARNT: tl.constexpr, ZERO: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr,
    NARROW: tl.constexpr, DT: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    i = tl.load(owner + program)
    kind = field(fields, i, KIND)
    ACROSS: tl.constexpr = BLOCK // NARROW
    if kind == WIDE:
        reduce_piece(addresses, fields, sums, i, program, BLOCK, 1, False, UNITS, LEARNT, ZERO, COUNT, DT, NUM)
    elif kind == SHORT:
        reduce_piece(addresses, fields, sums, i, program, NARROW, ACROSS, False, UNITS, LEARNT, ZERO, COUNT, DT, NUM)
    else:
        reduce_piece(addresses, fields, sums, i, program, NARROW, ACROSS, True, UNITS, LEARNT, ZERO, COUNT, DT, NUM)


@triton.jit
def project(
    addresses, numbers, fields, sums, results,
    UNITS: tl.constexpr, LEARNT: tl.constexpr, LISTING: tl.constexpr, CAPTURABLE: tl.constexpr, COUNT: tl.constexpr,
    CHUNK: tl.constexpr, TINY_SQUARE: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    """One program per tensor: ω, the per-tensor numbers, and the factor of δ in g' for the update."""
    i = tl.program_id(0)
    d = added(sums, fields, i, GD, CHUNK, NUM)
    n = added(sums, fields, i, DD, CHUNK, NUM)
    energy = added(sums, fields, i, GG, CHUNK, NUM)
    projection = tl.where(n > TINY_SQUARE, d / n, 0.0)
    usable = finite(d) & finite(n) & finite(projection)
    projection = tl.where(usable, projection, 0.0)
    if LEARNT:
        t = step_count(addresses, numbers, i, COUNT, CAPTURABLE)
        stored = at(addresses, i, SCALARS + 3, COUNT, NUM)
        c = tl.load(stored)
        parts = field(fields, i, PARTS)
        h = added(sums, fields, i, GX, CHUNK, NUM)
        scale = tl.full((), 1.0, NUM)
        if not UNITS:
            h = c * h
            scale = tl.load(numbers + LR).to(NUM)
        elif parts > 1:
            h = tl.full((), 0.0, NUM)
            for row in range(field(fields, i, ROWS)):
                gx = row_added(sums, fields, i, row, GX, CHUNK, NUM)
                gg = row_added(sums, fields, i, row, GG, CHUNK, NUM)
                h += hyper_gradient(gx, gg, row_added(sums, fields, i, row, XX, CHUNK, NUM), c)
        omega = learnt(addresses, i, h, tl.load(numbers + MU).to(NUM), t, SCALARS, COUNT, NUM)
        bounded = tl.minimum(tl.maximum(omega, 0.0), tl.load(numbers + OMEGA_MAX).to(NUM))
        omega = tl.where(t > 1, bounded, omega)
        tl.store(at(addresses, i, SCALARS, COUNT, NUM), omega)
        tl.store(stored, projection * scale)
    else:
        omega = tl.load(numbers + OMEGA).to(NUM)
    conflict = d < 0
    strength = tl.where(usable & (d >= 0), omega, 0.0) if LISTING else tl.where(usable & conflict, omega, 0.0)
    removed = tl.where(usable & (energy > 0) & finite(energy), (2 - strength) * strength * d * projection / energy, 0.0)
    tl.store(at(addresses, i, SCALARS + 4, COUNT, NUM), removed)
    conflicts = at(addresses, i, SCALARS + 5, COUNT, NUM)
    tl.store(conflicts, tl.load(conflicts) + (usable & conflict).to(NUM))
    tl.store(results + i, tl.load(numbers + LAM).to(NUM) - strength * projection)
