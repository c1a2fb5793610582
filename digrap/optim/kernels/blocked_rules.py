"""The update rules on the blocks of `digrap.optim.kernels.blocked_units`. Formulas and numbers are those of the rules'
own modules; `decide` is theirs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from digrap.optim.bucket import Bucket
from digrap.optim.digrap import TINY, DiGraP, hyper_gradient, signs_product
from digrap.optim.ftp import FTP
from digrap.optim.ftp import TINY as LEAST
from digrap.optim.kernels.blocked_units import RowNumbers, Unit, aligned_rows
from digrap.optim.l2sp import L2SP
from digrap.optim.mars_sp import MARSSP
from digrap.optim.spd import SPD
from digrap.optim.tensors import dot, row_dots


def _delta(param: Tensor, anchor: Tensor | None, out: Tensor) -> Tensor:
    """δ, written to `out` unless θ0 = 0."""
    return param if anchor is None else torch.sub(param, anchor, out=out)


def _renew(param: Tensor, anchor: Tensor | None, kept: Tensor) -> None:
    """Write δ over what is kept of the previous step."""
    if anchor is None:
        kept.copy_(param)
    else:
        torch.sub(param, anchor, out=kept)


def _dot(unit: Unit, a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each tensor of a block: shape (tensors,)."""
    if unit.count == 1:
        return dot(a.view(-1), b.view(-1)).view(1)
    return row_dots(a.view(unit.count, -1), b.view(unit.count, -1))


def _line_dots(unit: Unit, a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row of a block, those of strided ones singly: shape (lines of the block,)."""
    if unit.between == 1:
        return row_dots(a, b)
    return torch.mul(a, b, out=unit.scratch.like(a)).sum(dim=1).view(-1)


def _magnitudes(unit: Unit, x: Tensor) -> Tensor:
    """‖·‖₁ of each row of a block: shape (rows of the block,)."""
    return torch.abs(x, out=unit.scratch.like(x)).sum(dim=1)


class Lines(NamedTuple):
    """Numbers of each row of a DiGraP unit, block by block, those of strided rows singly."""

    tensors: int
    dots: list[Tensor]  # <g, δ_{t−1}>
    g2: list[Tensor]  # ‖g‖²
    before: list[Tensor]  # ‖δ_{t−1}‖²
    after: list[Tensor]  # ‖δ_t‖²
    d: list[Tensor]  # <g, δ_t>


def sum_digrap(rule: DiGraP, unit: Unit) -> Tensor | Lines:
    """DiGraP's first pass: d, n, ‖g‖² and, from the second step on where ω is learnt, h of each tensor, of shape
    (3 or 4, tensors), or what they are made of; δ is written."""
    group = unit.bucket.group
    learnt = group["omega"] is None
    late = learnt and unit.bucket.step > 1
    if late and group["normalize"] == "rows" and unit.long:
        return _sum_lines(rule, unit)
    blocks = unit.blocks("grad", "param", "anchor", "delta")
    sums: list[Tensor] = []
    hyper: list[Tensor] = []
    for grad, param, anchor, delta in blocks:
        if late:
            hyper.append(_hyper_sums(unit, grad, delta))
        if learnt:
            _renew(param, anchor, delta)
        else:
            delta = _delta(param, anchor, unit.scratch.like(grad))
        sums.append(torch.stack([_dot(unit, grad, delta), _dot(unit, delta, delta), _dot(unit, grad, grad)]))
    if learnt:
        unit.write("delta", blocks[0][3])
    found = torch.stack(sums).sum(dim=0)
    return torch.vstack([found, hyper_gradient(unit.bucket, torch.stack(hyper).sum(dim=0))]) if late else found


def _hyper_sums(unit: Unit, grad: Tensor, delta: Tensor) -> Tensor:
    """As the rule's `_hyper_sums`, of a block whose rows are whole tensors or short: shape (3, tensors)."""
    bucket = unit.bucket
    pairs = (grad, delta), (grad, grad), (delta, delta)
    if bucket.params[0].ndim < 2 or bucket.group["normalize"] != "rows":
        return torch.stack([_dot(unit, a, b) for a, b in pairs])
    c = bucket.numbers("projection")
    if unit.length == 1:
        h = signs_product(grad, delta, unit.for_rows(c))
    else:
        dots, g2, x2 = (_line_dots(unit, a, b) for a, b in pairs)
        h = _cosines(c.repeat_interleave(len(dots) // unit.count), dots, g2, x2)
    return unit.total([h]).expand(3, -1)


def _cosines(c: Tensor, dots: Tensor, g2: Tensor, x2: Tensor) -> Tensor:
    """unit(g) · unit(c x) of each row."""
    return (c * dots).div_(g2.sqrt().clamp_(min=TINY).mul_(x2.sqrt().mul_(c.abs()).clamp_(min=TINY)))


def _sum_lines(rule: DiGraP, unit: Unit) -> Lines:
    """The sums along the rows of a unit; δ is written."""
    kept = RowNumbers.of(rule)
    known = kept.get(unit, "delta")
    found = Lines(unit.count, [], [], known or [], [], [])
    blocks = unit.blocks("grad", "param", "anchor", "delta")
    for grad, param, anchor, delta in blocks:
        found.dots.append(_line_dots(unit, grad, delta))
        found.g2.append(_line_dots(unit, grad, grad))
        if known is None:
            found.before.append(_line_dots(unit, delta, delta))
        _renew(param, anchor, delta)
        found.after.append(_line_dots(unit, delta, delta))
        found.d.append(_line_dots(unit, grad, delta))
    unit.write("delta", blocks[0][3])
    kept.keep(unit, "delta", found.after)
    return found


def decide_digrap(rule: DiGraP, bucket: Bucket, found: list[Tensor | Lines]) -> Tensor:
    """The factor of δ in g' of each tensor."""
    lines = [one for one in found if isinstance(one, Lines)]
    if lines:
        counts = [one.tensors if isinstance(one, Lines) else one.shape[1] for one in found]
        own = zip(bucket.numbers("projection").split(counts), found, strict=True)
        summed = iter(_tensor_sums(lines, [c for c, one in own if isinstance(one, Lines)]))
        found = [next(summed) if isinstance(one, Lines) else one for one in found]
    sums = torch.cat(found, dim=1)
    return rule.decide(bucket, *sums[:3], sums[3] if len(sums) > 3 else None)


def _tensor_sums(lines: list[Lines], projections: list[Tensor]) -> list[Tensor]:
    """d, n, ‖g‖² and h of each unit's tensors, shape (4, tensors). What an operation on one number per row costs is
    paid once for all units."""
    columns = zip(*(one[1:] for one in lines), strict=True)
    dots, g2, before, after, d = (torch.cat(list(chain.from_iterable(column))) for column in columns)
    counts = [sum(part.shape[0] for part in one.d) for one in lines]
    each = torch.tensor(
        [count // one.tensors for one, count in zip(lines, counts, strict=True) for _ in range(one.tensors)]
    )
    c = torch.cat(projections).repeat_interleave(each, output_size=len(d))
    every = torch.stack([d, after, g2, _cosines(c, dots, g2, before)])
    parts = every.split(counts, dim=1)
    return [part.view(4, one.tensors, -1).sum(dim=2) for part, one in zip(parts, lines, strict=True)]


def update_digrap(unit: Unit, factors: Tensor) -> None:
    """DiGraP's second pass: the base update with g + s δ."""
    if not factors.any():
        unit.update()
        return
    learnt = unit.bucket.group["omega"] is None
    blocks = unit.blocks("grad", *(["delta"] if learnt else ["param", "anchor"]))
    for index in reversed(range(len(blocks))):
        grad, *known = blocks[index]
        scratch = unit.scratch.like(grad)
        delta = known[0] if learnt else _delta(*known, scratch)
        unit.update_block(index, _added(unit, grad, delta, factors, scratch))


def _added(unit: Unit, grad: Tensor, delta: Tensor, factors: Tensor, out: Tensor) -> Tensor:
    """g + s δ, written to `out`."""
    if unit.count == 1:
        return torch.add(grad, delta, alpha=factors.item(), out=out)
    return torch.addcmul(grad, delta, unit.for_rows(factors), out=out)


def take_l2sp(rule: L2SP, unit: Unit) -> None:
    """L2-SP: one pass."""
    lam = unit.bucket.group["lam"]
    if not lam:
        unit.update()
        return
    for index, (grad, param, anchor) in enumerate(unit.blocks("grad", "param", "anchor")):
        scratch = unit.scratch.like(grad)
        delta = _delta(param, anchor, scratch)
        unit.update_block(index, torch.add(grad, delta, alpha=lam, out=scratch))


def take_mars_sp(rule: MARSSP, unit: Unit) -> None:
    """MARS-SP: a pass that finds the row, then the base update, whose gradient differs on that row alone."""
    lam = unit.bucket.group["lam"]
    if not lam:
        unit.update()
        return
    blocks = unit.blocks("param", "anchor")
    sums = [_magnitudes(unit, _delta(param, anchor, unit.scratch.like(param))) for param, anchor in blocks]
    norms = torch.cat(sums).view(unit.count, unit.rows)
    chosen = torch.where(torch.isnan(norms), -1.0, norms).argmax(dim=1)
    if unit.large:
        _update_around(unit, int(chosen), lam)
        return
    ((grad, param, anchor),) = unit.blocks("grad", "param", "anchor")
    rows = torch.arange(unit.count) * unit.rows + chosen
    delta = param[rows] if anchor is None else param[rows] - anchor[rows]
    grad[rows] += delta.sign() * lam  # the block is a copy
    unit.update_block(0, grad)


def _update_around(unit: Unit, row: int, lam: float) -> None:
    """The base update of a large tensor whose gradient has the penalty of one row."""
    param, grad, anchor = unit.whole("param"), unit.whole("grad"), unit.whole("anchor")
    delta = param[row] if anchor is None else param[row] - anchor[row]
    step = aligned_rows(unit.length)
    first = row // step * step
    changed = grad[first : first + step].clone()
    changed[row - first].add_(delta.sign(), alpha=lam)
    unit.update_around(first, changed)


def update_spd(rule: SPD, unit: Unit) -> Tensor:
    """SPD's first pass: the base update; <g, δ>, ‖δ‖² and ‖δ'‖² of each tensor: shape (3, tensors)."""
    sums = []
    for index, (grad, param, anchor) in enumerate(unit.blocks("grad", "param", "anchor")):
        delta = _delta(param, anchor, unit.scratch.like(param))
        before = _dot(unit, grad, delta), _dot(unit, delta, delta)
        unit.update_block(index, grad)
        if not unit.large:
            ((param,),) = unit.blocks("param")
        delta = _delta(param, anchor, unit.scratch.like(param))
        sums.append(torch.stack([*before, _dot(unit, delta, delta)]))
    return torch.stack(sums).sum(dim=0)


def decide_spd(rule: SPD, bucket: Bucket, found: list[Tensor]) -> Tensor:
    """The share of δ' that is taken back from each tensor."""
    return rule.decide(bucket, *torch.cat(found, dim=1))


def shrink_spd(unit: Unit, factors: Tensor) -> None:
    """SPD's second pass: a part of δ' is taken back."""
    if not factors.any():
        return
    for param, anchor in unit.blocks("param", "anchor"):
        scratch = unit.scratch.like(param)
        delta = _delta(param, anchor, scratch)
        if unit.count == 1:
            param.sub_(delta, alpha=factors.item())
        else:
            param.sub_(torch.mul(delta, unit.for_rows(factors), out=scratch))
        unit.write("param", param)


def update_ftp(rule: FTP, unit: Unit) -> Tensor:
    """FTP's first pass: the base update; the largest row sum and, from the second step on, h of each tensor: shape
    (1 or 2, tensors). The row sums are left for the second pass."""
    kept = RowNumbers.of(rule)
    known = kept.get(unit, "candidate")
    late = unit.bucket.step > 1
    dots, before = [], known or []
    for index, (grad, param, anchor, candidate) in enumerate(unit.blocks("grad", "param", "anchor", "candidate")):
        if late:
            dots.append(row_dots(grad, candidate))
            if known is None:
                before.append(_magnitudes(unit, candidate))
        unit.update_block(index, grad)
        if not unit.large:
            ((param,),) = unit.blocks("param")
        _renew(param, anchor, candidate)
        unit.write("candidate", candidate)
        unit.sums.append(_magnitudes(unit, candidate))
    kept.keep(unit, "candidate", unit.sums)
    every = torch.cat(unit.sums).view(unit.count, -1) + LEAST
    largest = torch.where(torch.isfinite(every), every, 0.0).amax(dim=1)
    largest = torch.where(largest > 0, largest, torch.inf)
    if not late:
        return largest.view(1, -1)
    return torch.stack([largest, unit.total([torch.cat(dots) / (torch.cat(before) + LEAST)])])


def decide_ftp(rule: FTP, bucket: Bucket, found: list[Tensor]) -> Tensor:
    """γ of each tensor."""
    largest, *h = torch.cat(found, dim=1)
    return rule.bound(bucket, rule.learn(bucket, h[0] if h else None), largest)


def shrink_ftp(unit: Unit, gamma: Tensor) -> None:
    """FTP's second pass: rows longer than γ are shortened."""
    bounds = gamma if unit.count == 1 else gamma.repeat_interleave(unit.rows)
    ratios = [torch.where(torch.isfinite(s), bounds / (s + LEAST), 1.0) for s in unit.sums]
    if not any((ratio < 1.0).any() for ratio in ratios):
        return
    for (param, anchor), ratio in zip(unit.blocks("param", "anchor"), ratios, strict=True):
        ratio = ratio.clamp_(max=1.0).view(-1, 1)
        # lerp returns exactly θ' where the ratio is 1
        param.mul_(ratio) if anchor is None else torch.lerp(anchor, param, ratio, out=param)
        unit.write("param", param)


class Passes(NamedTuple):
    """A rule: the first pass over a unit; what decides a number per tensor from what the first pass found of each
    unit; the second pass over a unit with the numbers of its tensors. None: there is none."""

    first: Callable[[Any, Unit], Any]
    decide: Callable[[Any, Bucket, list], Tensor] | None = None
    second: Callable[[Unit, Tensor], None] | None = None


RULES = {
    "digrap": Passes(sum_digrap, decide_digrap, update_digrap),
    "ftp": Passes(update_ftp, decide_ftp, shrink_ftp),
    "l2sp": Passes(take_l2sp),
    "mars_sp": Passes(take_mars_sp),
    "spd": Passes(update_spd, decide_spd, shrink_spd),
}
