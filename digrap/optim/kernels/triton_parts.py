"""What the kernels share: addresses, pieces of work, sums and the base update.

`DT` is the dtype of the parameters, `NUM` that of the arithmetic: float32, or float64 for float64 parameters.
"""

import triton
import triton.language as tl

from digrap.optim.kernels import triton_plan

COLUMNS = {name: tl.constexpr(i) for i, name in enumerate(triton_plan.TENSORS)}
GRAD, PARAM, FIRST, SECOND = (COLUMNS[name] for name in ("grad", "param", "first", "second"))
ANCHOR, DELTA, STEP = (COLUMNS[name] for name in ("anchor", "delta", "step"))
SCALARS = tl.constexpr(len(triton_plan.TENSORS))  # the column of the first per-tensor number
FIELDS = tl.constexpr(len(triton_plan.FIELDS))
NUMEL, ROWS, LENGTH, INNER, PARTS, PART, ROWS_EACH, FIRST_PROGRAM, PROGRAMS, FIRST_ROW, KIND = (
    tl.constexpr(i) for i in range(len(triton_plan.FIELDS))
)
WIDTH = tl.constexpr(triton_plan.Plan.WIDTH)
# The vector of numbers; a rule's own begin at RULE.
LR, T, BETA1, BETA2, LOG_BETA1, LOG_BETA2, EPS, WEIGHT_DECAY, RULE = (tl.constexpr(i) for i in range(9))
INFINITY = tl.constexpr(float("inf"))
WIDE, SHORT = tl.constexpr(triton_plan.WIDE), tl.constexpr(triton_plan.SHORT)


@triton.jit
def at(addresses, i, column, COUNT: tl.constexpr, DT: tl.constexpr):
    """The tensor in a column of row i of the address table, which has COUNT columns."""
    return tl.load(addresses + i * COUNT + column).to(tl.pointer_type(DT))


@triton.jit
def field(fields, i, column):
    return tl.load(fields + i * FIELDS + column)


@triton.jit
def finite(x):
    return tl.abs(x) < INFINITY


@triton.jit
def step_count(addresses, numbers, i, COUNT: tl.constexpr, CAPTURABLE: tl.constexpr):
    """t, the number of the step being taken: 1, 2, …"""
    return tl.load(at(addresses, i, STEP, COUNT, tl.float32)).to(tl.float64) if CAPTURABLE else tl.load(numbers + T)


@triton.jit
def learnt(addresses, i, h, mu, t, COLUMN: tl.constexpr, COUNT: tl.constexpr, NUM: tl.constexpr):
    """A per-tensor number after one Adam step (β = 0.9, 0.999) of learning rate `mu` on `h`; its moments, in the next
    two columns, are stored. Nothing changes at t = 1 and where h or its square is not finite."""
    first = at(addresses, i, COLUMN + 1, COUNT, NUM)
    second = at(addresses, i, COLUMN + 2, COUNT, NUM)
    value = tl.load(at(addresses, i, COLUMN, COUNT, NUM))
    old_m, old_v = tl.load(first), tl.load(second)
    m = 0.9 * old_m + 0.1 * h
    v = 0.999 * old_v + 0.001 * h * h
    usable = (t > 1) & finite(h * h)
    tl.store(first, tl.where(usable, m, old_m))
    tl.store(second, tl.where(usable, v, old_v))
    m_hat = m / (1 - tl.exp(t * -0.10536051565782628)).to(NUM)  # log 0.9
    v_hat = v / (1 - tl.exp(t * -0.0010005003335835335)).to(NUM)  # log 0.999
    return tl.where(usable, value - mu * m_hat / (tl.sqrt(v_hat) + 1e-8), value)


@triton.jit
def base_numbers(
    addresses, numbers, i, COUNT: tl.constexpr, BASE: tl.constexpr, CAPTURABLE: tl.constexpr, NUM: tl.constexpr
):
    """The numbers of the base update of tensor i, in NUM: the length of a step, the root of AdamW's second bias
    correction, the factor of the parameter (AdamW) or the weight decay (SGD), (β1 or the momentum,
    1 − β1, β2, 1 − β2), ε."""
    lr = tl.load(numbers + LR)
    decay = tl.load(numbers + WEIGHT_DECAY)
    beta1 = tl.load(numbers + BETA1)
    beta2 = tl.load(numbers + BETA2)
    root = lr
    if BASE == "adamw":
        t = step_count(addresses, numbers, i, COUNT, CAPTURABLE)
        decay = 1 - lr * decay
        root = tl.sqrt(1 - tl.exp(t * tl.load(numbers + LOG_BETA2)))
        lr = lr / (1 - tl.exp(t * tl.load(numbers + LOG_BETA1)))
    moments = (beta1.to(NUM), (1 - beta1).to(NUM), beta2.to(NUM), (1 - beta2).to(NUM))
    return lr.to(NUM), root.to(NUM), decay.to(NUM), moments, tl.load(numbers + EPS).to(NUM)


@triton.jit
def base_update(theta, g, first, second, mask, of_base, BASE: tl.constexpr, NUM: tl.constexpr):
    """θ after the base update with gradient g, in NUM. `first` and `second` point to the elements' moments, which are
    updated; `of_base` comes from `base_numbers`. BASE: adamw, sgd, momentum, nesterov."""
    lr, root, decay, moments, eps = of_base
    beta1, rest1, beta2, rest2 = moments
    if BASE == "adamw":
        m = tl.load(first, mask=mask, other=0.0).to(NUM)
        v = tl.load(second, mask=mask, other=0.0).to(NUM)
        m = beta1 * m + rest1 * g
        v = beta2 * v + rest2 * g * g  # in this order: g² of a large gradient overflows
        tl.store(first, m.to(first.dtype.element_ty), mask=mask)
        tl.store(second, v.to(second.dtype.element_ty), mask=mask)
        theta = theta * decay - lr * m / (tl.sqrt(v) / root + eps)
    else:
        g = g + decay * theta
        if BASE != "sgd":
            b = beta1 * tl.load(first, mask=mask, other=0.0).to(NUM) + g
            tl.store(first, b.to(first.dtype.element_ty), mask=mask)
            g = g + beta1 * b if BASE == "nesterov" else b
        theta = theta - lr * g
    return theta


@triton.jit
def displacement(theta, anchor, mask, ZERO: tl.constexpr, DT: tl.constexpr, NUM: tl.constexpr):
    """δ = θ − θ0 in NUM, rounded to DT as it is stored. `anchor` points to the elements of θ0, not used if ZERO."""
    if not ZERO:
        theta = theta - tl.load(anchor, mask=mask, other=0.0).to(NUM)
    return theta.to(DT).to(NUM)


@triton.jit
def piece(fields, i, program):
    """The program's piece of tensor i: rows [first, last) and their elements [start, end)."""
    k = program - field(fields, i, FIRST_PROGRAM)
    parts = field(fields, i, PARTS)
    each = field(fields, i, ROWS_EACH)
    part = field(fields, i, PART)
    first = (k // parts) * each
    last = tl.minimum(first + each, field(fields, i, ROWS))
    start = (k % parts) * part
    return first, last, start, tl.minimum(start + part, field(fields, i, LENGTH))


@triton.jit
def tile(row, last, start, end, length, inner, DOWN: tl.constexpr, ACROSS: tl.constexpr, STRIDED: tl.constexpr):
    """Offsets and mask, (DOWN, ACROSS), of the elements `start`… of the rows `row`… of a tensor."""
    rows = row + tl.arange(0, ACROSS).to(tl.int64)
    elements = start + tl.arange(0, DOWN).to(tl.int64)
    mask = (elements < end)[:, None] & (rows < last)[None, :]
    if STRIDED:
        base = (rows // inner) * (length * inner) + rows % inner
        offsets = elements[:, None] * inner + base[None, :]
    else:
        offsets = elements[:, None] + (rows * length)[None, :]
    return offsets, mask


@triton.jit
def added(sums, fields, i, column, CHUNK: tl.constexpr, NUM: tl.constexpr):
    """The sum of a column of the programs' scratch rows over tensor i's programs, in float64 and in a fixed order."""
    total = tl.full((CHUNK,), 0.0, tl.float64)
    base = sums + field(fields, i, FIRST_PROGRAM) * WIDTH + column
    programs = field(fields, i, PROGRAMS)
    for k in range(0, programs, CHUNK):
        index = k + tl.arange(0, CHUNK)
        total += tl.load(base + index.to(tl.int64) * WIDTH, mask=index < programs, other=0.0).to(tl.float64)
    return tl.sum(total, axis=0).to(NUM)


@triton.jit
def row_added(sums, fields, i, row, column, CHUNK: tl.constexpr, NUM: tl.constexpr):
    """The same over the programs that share a row."""
    total = tl.full((CHUNK,), 0.0, tl.float64)
    parts = field(fields, i, PARTS)
    base = sums + (field(fields, i, FIRST_PROGRAM) + row * parts) * WIDTH + column
    for k in range(0, parts, CHUNK):
        index = k + tl.arange(0, CHUNK)
        total += tl.load(base + index.to(tl.int64) * WIDTH, mask=index < parts, other=0.0).to(tl.float64)
    return tl.sum(total, axis=0).to(NUM)
