"""MARS-SP's launches before the update: ℓ1 norms of the rows of δ, the first row with the largest."""

import triton
import triton.language as tl

from digrap.optim.kernels.triton_parts import (
    ANCHOR,
    FIRST_PROGRAM,
    INNER,
    KIND,
    LENGTH,
    PARAM,
    PARTS,
    PROGRAMS,
    ROWS,
    SHORT,
    WIDTH,
    at,
    displacement,
    field,
    piece,
    row_added,
    tile,
)  # fmt: skip


@triton.jit
def reduce_piece(
    addresses, fields, sums, best, i, program,
    DOWN: tl.constexpr, ACROSS: tl.constexpr, ZERO: tl.constexpr, COUNT: tl.constexpr, DT: tl.constexpr,
    NUM: tl.constexpr,
):  # fmt: skip
    """The program's largest row norm and its row; the sum of its part where the row is divided."""
    param, anchor = at(addresses, i, PARAM, COUNT, DT), at(addresses, i, ANCHOR, COUNT, DT)
    first, last, start, end = piece(fields, i, program)
    length, inner = field(fields, i, LENGTH), field(fields, i, INNER)
    largest, found, total = tl.full((), -2.0, NUM), first, tl.full((), 0.0, NUM)
    for row in range(first, last, ACROSS):
        norms = tl.full((DOWN, ACROSS), 0.0, NUM)
        for begin in range(start, end, DOWN):
            offsets, mask = tile(row, last, begin, end, length, inner, DOWN, ACROSS, False)
            theta = tl.load(param + offsets, mask=mask, other=0.0).to(NUM)
            norms += tl.abs(displacement(theta, anchor + offsets, mask, ZERO, DT, NUM))
        rows = row + tl.arange(0, ACROSS).to(tl.int64)
        norm = tl.sum(norms, axis=0)
        total = tl.sum(norm, axis=0)  # of use where the program has a part of one row
        norm = tl.where(rows < last, tl.where(norm >= 0, norm, -1.0), -2.0)  # NaN is never the largest
        most = tl.max(norm, axis=0)
        found = tl.where(most > largest, tl.min(tl.where(norm == most, rows, last), axis=0), found)
        largest = tl.maximum(most, largest)
    tl.store(sums + program.to(tl.int64) * WIDTH, tl.where(field(fields, i, PARTS) == 1, largest, total))
    tl.store(best + program, found)


@triton.jit
def reduce(
    addresses, owner, fields, sums, best,
    ZERO: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr, NARROW: tl.constexpr, DT: tl.constexpr,
    NUM: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    i = tl.load(owner + program)
    if field(fields, i, KIND) == SHORT:
        reduce_piece(addresses, fields, sums, best, i, program, NARROW, BLOCK // NARROW, ZERO, COUNT, DT, NUM)
    else:
        reduce_piece(addresses, fields, sums, best, i, program, BLOCK, 1, ZERO, COUNT, DT, NUM)


@triton.jit
def choose_row(fields, sums, best, found, CHUNK: tl.constexpr, NUM: tl.constexpr):
    """One program per tensor: found[i] ← its first row with the largest norm."""
    i = tl.program_id(0)
    first = field(fields, i, FIRST_PROGRAM)
    parts = field(fields, i, PARTS)
    largest, chosen = tl.full((), -2.0, NUM), tl.full((), 0, tl.int64)
    if parts > 1:
        for row in range(field(fields, i, ROWS)):
            norm = row_added(sums, fields, i, row, 0, CHUNK, NUM)
            norm = tl.where(norm >= 0, norm, -1.0)
            chosen = tl.where(norm > largest, row, chosen)
            largest = tl.maximum(norm, largest)
    else:
        programs = field(fields, i, PROGRAMS)
        for k in range(0, programs, CHUNK):
            index = k + tl.arange(0, CHUNK).to(tl.int64)
            mask = index < programs
            norms = tl.load(sums + (first + index) * WIDTH, mask=mask, other=-2.0)
            rows = tl.load(best + first + index, mask=mask, other=0)
            most = tl.max(norms, axis=0)
            lowest = tl.min(tl.where(norms == most, rows, field(fields, i, ROWS)), axis=0)
            chosen = tl.where(most > largest, lowest, chosen)
            largest = tl.maximum(most, largest)
    tl.store(found + i, chosen)
