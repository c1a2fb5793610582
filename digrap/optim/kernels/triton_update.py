"""The base update with an adjusted gradient: the last launch of DiGraP, L2-SP and MARS-SP."""

import triton
import triton.language as tl

from digrap.optim.kernels.triton_parts import (
    ANCHOR,
    DELTA,
    FIRST,
    FIRST_PROGRAM,
    GRAD,
    LENGTH,
    NUMEL,
    PARAM,
    PART,
    RULE,
    SECOND,
    at,
    base_numbers,
    base_update,
    displacement,
    field,
)  # fmt: skip


@triton.jit
def update(
    addresses, numbers, owner, fields, row_fields, results, best,
    KERNEL: tl.constexpr, STORED: tl.constexpr, ZERO: tl.constexpr, BASE: tl.constexpr, CAPTURABLE: tl.constexpr,
    COUNT: tl.constexpr, BLOCK: tl.constexpr, DT: tl.constexpr, NUM: tl.constexpr,
):  # fmt: skip
    """θ ← base update with g'. KERNEL "l2sp": g' = g + λδ; "mars_sp": g' = g + λ sign(δ) on the row best[i];
    "digrap": g' = g + results[i] δ. STORED: δ is read from the state, else it is θ − θ0."""
    program = tl.program_id(0)
    i = tl.load(owner + program)
    start = (program - field(fields, i, FIRST_PROGRAM)) * field(fields, i, PART)
    end = tl.minimum(start + field(fields, i, PART), field(fields, i, NUMEL))
    of_base = base_numbers(addresses, numbers, i, COUNT, BASE, CAPTURABLE, NUM)
    factor = tl.load(results + i) if KERNEL == "digrap" else tl.load(numbers + RULE).to(NUM)
    grad, param = at(addresses, i, GRAD, COUNT, DT), at(addresses, i, PARAM, COUNT, DT)
    first, second = at(addresses, i, FIRST, COUNT, DT), at(addresses, i, SECOND, COUNT, DT)
    anchor, delta = at(addresses, i, ANCHOR, COUNT, DT), at(addresses, i, DELTA, COUNT, DT)
    row, length = tl.full((), 0, tl.int64), field(row_fields, i, LENGTH)
    if KERNEL == "mars_sp":
        row = tl.load(best + i)
    for begin in range(start, end, BLOCK):
        offsets = begin + tl.arange(0, BLOCK).to(tl.int64)
        mask = offsets < end
        theta = tl.load(param + offsets, mask=mask, other=0.0).to(NUM)
        g = tl.load(grad + offsets, mask=mask, other=0.0).to(NUM)
        if STORED:
            x = tl.load(delta + offsets, mask=mask, other=0.0).to(NUM)
        else:
            x = displacement(theta, anchor + offsets, mask, ZERO, DT, NUM)
        if KERNEL == "mars_sp":
            inside = (offsets >= row * length) & (offsets < (row + 1) * length)
            sign = tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, x))  # x itself where it is 0 or NaN
            g = tl.where(inside, g + factor * sign, g)
        else:
            g = tl.where(factor != 0, g + factor * x, g)  # a δ that is not finite stays out of the base update
        theta = base_update(theta, g, first + offsets, second + offsets, mask, of_base, BASE, NUM)
        tl.store(param + offsets, theta.to(DT), mask=mask)
