"""The update rules on the blocks of `digrap.optim.kernels.blocked_units`. Formulas and numbers are those of the rules'
own modules; `decide` is theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from digrap.optim.bucket import Bucket
from digrap.optim.ftp import FTP
from digrap.optim.ftp import TINY as LEAST
from digrap.optim.kernels.blocked_digrap import decide_digrap, sum_digrap, update_digrap
from digrap.optim.kernels.blocked_units import Unit, aligned_rows, displacement, renew
from digrap.optim.l2sp import L2SP
from digrap.optim.mars_sp import MARSSP
from digrap.optim.spd import SPD


def take_l2sp(rule: L2SP, unit: Unit) -> None:
    """L2-SP: one pass."""
    lam = unit.bucket.group["lam"]
    if not lam:
        unit.update()
        return
    for index, (grad, param, anchor) in enumerate(unit.blocks("grad", "param", "anchor")):
        scratch = unit.scratch.like(grad)
        delta = displacement(param, anchor, scratch)
        unit.update_block(index, torch.add(grad, delta, alpha=lam, out=scratch))


def take_mars_sp(rule: MARSSP, unit: Unit) -> None:
    """MARS-SP: a pass that finds the row, then the base update, whose gradient differs on that row alone."""
    lam = unit.bucket.group["lam"]
    if not lam:
        unit.update()
        return
    blocks = unit.blocks("param", "anchor")
    sums = [unit.magnitudes(displacement(param, anchor, unit.scratch.like(param))) for param, anchor in blocks]
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
        delta = displacement(param, anchor, unit.scratch.like(param))
        before = unit.dot(grad, delta), unit.dot(delta, delta)
        unit.update_block(index, grad)
        if not unit.large:
            ((param,),) = unit.blocks("param")
        delta = displacement(param, anchor, unit.scratch.like(param))
        sums.append(torch.stack([*before, unit.dot(delta, delta)]))
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
        delta = displacement(param, anchor, scratch)
        if unit.count == 1:
            param.sub_(delta, alpha=factors.item())
        else:
            param.sub_(torch.mul(delta, unit.for_rows(factors), out=scratch))
        unit.write("param", param)


def update_ftp(rule: FTP, unit: Unit) -> Tensor:
    """FTP's first pass: the base update; the largest row sum and, from the second step on, h of each tensor: shape
    (1 or 2, tensors). The row sums are left for the second pass."""
    known = unit.known("candidate")
    late = unit.bucket.step > 1
    dots, before = [], known or []
    for index, (grad, param, anchor, candidate) in enumerate(unit.blocks("grad", "param", "anchor", "candidate")):
        if late:
            dots.append(unit.line_dots(grad, candidate))
            if known is None:
                before.append(unit.magnitudes(candidate))
        unit.update_block(index, grad)
        if not unit.large:
            ((param,),) = unit.blocks("param")
        renew(param, anchor, candidate)
        unit.write("candidate", candidate)
        unit.sums.append(unit.magnitudes(candidate))
    unit.keep("candidate", unit.sums)
    every = torch.cat(unit.sums).view(unit.count, -1) + LEAST
    largest = torch.where(torch.isfinite(every), every, 0.0).amax(dim=1)
    largest = torch.where(largest > 0, largest, torch.inf)
    if not late:
        return largest.view(1, -1)
    return torch.stack([largest, unit.total(torch.cat(dots) / (torch.cat(before) + LEAST))])


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
