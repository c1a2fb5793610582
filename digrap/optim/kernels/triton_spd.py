"""SPD's launches: the base update with the sums of δ before and after it, the ratios, the shrinking."""

import triton
import triton.language as tl

from digrap.optim.kernels.triton_parts import (
    ANCHOR,
    FIRST,
    FIRST_PROGRAM,
    GRAD,
    NUMEL,
    PARAM,
    PART,
    RULE,
    SECOND,
    WIDTH,
    added,
    at,
    base_numbers,
    base_update,
    displacement,
    field,
    finite,
)  # fmt: skip

# Columns of the scratch rows: <g, δ>, ‖δ‖², ‖δ'‖², ‖δ'‖² − ‖δ‖².
GD, START, END, GROWTH = (tl.constexpr(i) for i in range(4))


@triton.jit
def update(
    addresses, numbers, owner, fields, sums,
    ZERO: tl.constexpr, BASE: tl.constexpr, CAPTURABLE: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr,
    DT: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    """θ ← θ', the base update, and the program's sums."""
    program = tl.program_id(0)
    i = tl.load(owner + program)
    start = (program - field(fields, i, FIRST_PROGRAM)) * field(fields, i, PART)
    end = tl.minimum(start + field(fields, i, PART), field(fields, i, NUMEL))
    of_base = base_numbers(addresses, numbers, i, COUNT, BASE, CAPTURABLE, NUM)
    grad, param = at(addresses, i, GRAD, COUNT, DT), at(addresses, i, PARAM, COUNT, DT)
    first, second = at(addresses, i, FIRST, COUNT, DT), at(addresses, i, SECOND, COUNT, DT)
    anchor = at(addresses, i, ANCHOR, COUNT, DT)
    gd, before = tl.full((BLOCK,), 0.0, NUM), tl.full((BLOCK,), 0.0, NUM)
    after, growth = tl.full((BLOCK,), 0.0, NUM), tl.full((BLOCK,), 0.0, NUM)
    for begin in range(start, end, BLOCK):
        offsets = begin + tl.arange(0, BLOCK).to(tl.int64)
        mask = offsets < end
        theta = tl.load(param + offsets, mask=mask, other=0.0).to(NUM)
        g = tl.load(grad + offsets, mask=mask, other=0.0).to(NUM)
        x = displacement(theta, anchor + offsets, mask, ZERO, DT, NUM)
        theta = base_update(theta, g, first + offsets, second + offsets, mask, of_base, BASE, NUM)
        theta = theta.to(DT)
        tl.store(param + offsets, theta, mask=mask)
        y = displacement(theta.to(NUM), anchor + offsets, mask, ZERO, DT, NUM)
        gd += g * x
        before += x * x
        after += y * y
        growth += (y - x) * (y + x)
    row = sums + program.to(tl.int64) * WIDTH
    tl.store(row + GD, tl.sum(gd, axis=0))
    tl.store(row + START, tl.sum(before, axis=0))
    tl.store(row + END, tl.sum(after, axis=0))
    tl.store(row + GROWTH, tl.sum(growth, axis=0))


@triton.jit
def measure(numbers, fields, sums, results, CHUNK: tl.constexpr, NUM: tl.constexpr):
    """One program per tensor: results[i] ← the share of δ' that is taken back."""
    i = tl.program_id(0)
    d = added(sums, fields, i, GD, CHUNK, NUM)
    start = tl.sqrt(added(sums, fields, i, START, CHUNK, NUM))
    end = tl.sqrt(added(sums, fields, i, END, CHUNK, NUM))
    growth = added(sums, fields, i, GROWTH, CHUNK, NUM)
    ratio = tl.where(end > 0, growth / end / (end + start), 0.0)
    selected = (d > 0) & finite(d) & finite(start) & finite(end) & (ratio > 0)
    strength = tl.load(numbers + RULE).to(NUM)
    tl.store(results + i, tl.where(selected, strength * tl.minimum(ratio, 1.0), 0.0))


@triton.jit
def shrink(
    addresses, owner, fields, results,
    ZERO: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr, DT: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    """θ ← θ' − results[i] δ'; a tensor that is not selected is not read."""
    program = tl.program_id(0)
    i = tl.load(owner + program)
    factor = tl.load(results + i)
    if factor != 0:
        start = (program - field(fields, i, FIRST_PROGRAM)) * field(fields, i, PART)
        end = tl.minimum(start + field(fields, i, PART), field(fields, i, NUMEL))
        param, anchor = at(addresses, i, PARAM, COUNT, DT), at(addresses, i, ANCHOR, COUNT, DT)
        for begin in range(start, end, BLOCK):
            offsets = begin + tl.arange(0, BLOCK).to(tl.int64)
            mask = offsets < end
            theta = tl.load(param + offsets, mask=mask, other=0.0).to(NUM)
            theta -= factor * displacement(theta, anchor + offsets, mask, ZERO, DT, NUM)
            tl.store(param + offsets, theta.to(DT), mask=mask)
