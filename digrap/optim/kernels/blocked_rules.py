"""The update rules on the blocks of `digrap.optim.kernels.blocked`. Formulas and numbers are those of the rules' own
modules; `decide` is theirs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from digrap.optim.bucket import Bucket
from digrap.optim.digrap import TINY, DiGraP, hyper_gradient, signs_product
from digrap.optim.ftp import FTP
from digrap.optim.ftp import TINY as LEAST
from digrap.optim.kernels.blocked import Unit
from digrap.optim.l2sp import L2SP
from digrap.optim.mars_sp import MARSSP
from digrap.optim.spd import SPD
from digrap.optim.tensors import LONG, line_norms


def _dot(a: Tensor, b: Tensor, scratch: Tensor) -> Tensor:
    """<a, b> of each tensor of a block: shape (tensors,)."""
    if len(a) == 1:
        return torch.dot(a.reshape(-1), b.reshape(-1)).view(1)
    return torch.mul(a, b, out=scratch).flatten(1).sum(dim=1)


def _delta(param: Tensor, anchor: Tensor | None, out: Tensor) -> Tensor:
    """δ, written to `out` unless θ0 = 0."""
    return param if anchor is None else torch.sub(param, anchor, out=out)


def _renew(param: Tensor, anchor: Tensor | None, kept: Tensor) -> None:
    """Write δ over what is kept of the previous step."""
    if anchor is None:
        kept.copy_(param)
    else:
        torch.sub(param, anchor, out=kept)


def sum_digrap(rule: DiGraP, unit: Unit) -> tuple[Tensor | None, ...]:
    """DiGraP's first pass: d, n, ‖g‖² and h of each tensor, None at t = 1 and for a fixed ω; δ is written."""
    bucket, group = unit.bucket, unit.bucket.group
    learnt = group["omega"] is None
    late = learnt and bucket.step > 1
    blocks = unit.blocks("grad", "param", "anchor", "delta")
    matrix = unit.large and group["normalize"] == "rows" and bucket.params[0].ndim == 2
    if late and matrix and 1 < unit.shape[2] <= LONG:
        return _sums_of_rows(rule, unit, blocks)
    sums: list[Tensor] = []
    hyper: list[Tensor] = []
    for grad, param, anchor, delta in blocks:
        scratch = unit.scratch.like(grad)
        if late:
            hyper.append(_hyper_sums(unit, grad, delta, scratch))
        if learnt:
            _renew(param, anchor, delta)
        else:
            delta = _delta(param, anchor, scratch.clone() if anchor is not None else scratch)
        sums.append(torch.stack([_dot(grad, delta, scratch), _dot(delta, delta, scratch), _dot(grad, grad, scratch)]))
    if learnt:
        unit.write("delta", blocks[0][3])
    h = hyper_gradient(bucket, torch.stack(hyper).sum(dim=0)) if late else None
    return *torch.stack(sums).sum(dim=0), h


def update_digrap(unit: Unit, factors: Tensor) -> None:
    """DiGraP's second pass: the base update with g + s δ."""
    if not factors.any():
        unit.update()
        return
    learnt = unit.bucket.group["omega"] is None
    blocks = unit.blocks("grad", "param", "anchor", "delta")
    for index in reversed(range(len(blocks))):
        grad, param, anchor, delta = blocks[index]
        scratch = unit.scratch.like(grad)
        delta = delta if learnt else _delta(param, anchor, scratch)
        unit.update_block(index, _added(grad, delta, factors, scratch))


def _sums_of_rows(rule: DiGraP, unit: Unit, blocks: list[tuple]) -> tuple[Tensor, ...]:
    """d, n, ‖g‖² and h of a large matrix, each of shape (1,), from sums along its rows; δ is written.

    The norms of the rows of δ are those that the next step divides by: they are kept as long as nothing else writes to
    it.
    """
    (delta,) = unit.bucket.gather("delta")
    kept = vars(rule).setdefault("row_norms", WeakTensorKeyDictionary())
    version, before = kept.get(delta, (None, None))
    if version != delta._version:
        before = line_norms(delta)
    dots, norms, after = (torch.empty_like(before) for _ in range(3))
    ends = [0, *accumulate(grad.shape[1] for grad, *_ in blocks)]
    found = []
    for (grad, param, anchor, old), (begin, end) in zip(blocks, pairwise(ends), strict=True):
        lines, length = slice(begin, end), unit.shape[2]
        scratch = unit.scratch.like(grad)
        torch.sum(torch.mul(grad, old, out=scratch).view(-1, length), dim=1, out=dots[lines])
        torch.linalg.vector_norm(grad.view(-1, length), dim=1, out=norms[lines])
        _renew(param, anchor, old)
        torch.linalg.vector_norm(old.view(-1, length), dim=1, out=after[lines])
        found.append(torch.dot(grad.view(-1), old.view(-1)))
    kept[delta] = delta._version, after
    c = unit.bucket.numbers("projection")
    h = (c * dots / (norms.clamp(min=TINY) * (c.abs() * before).clamp_(min=TINY))).sum()
    sums = torch.stack([torch.stack(found).sum(), torch.dot(after, after), torch.dot(norms, norms), h])
    return tuple(sums.view(4, 1))


def _added(grad: Tensor, delta: Tensor, factors: Tensor, scratch: Tensor) -> Tensor:
    """g + s δ, in the scratch tensor."""
    if len(factors) == 1:
        return torch.add(grad, delta, alpha=factors.item(), out=scratch)
    return torch.addcmul(grad, delta, factors.view(-1, 1, 1, 1), out=scratch)


def _hyper_sums(unit: Unit, grad: Tensor, delta: Tensor, scratch: Tensor) -> Tensor:
    """As the rule's `_hyper_sums`, of a block: shape (3, tensors)."""
    bucket = unit.bucket
    if bucket.params[0].ndim < 2 or bucket.group["normalize"] != "rows":
        return torch.stack([_dot(a, b, scratch) for a, b in ((grad, delta), (grad, grad), (delta, delta))])
    c = unit.per_tensor(bucket.numbers("projection"))
    if unit.shape[2] == 1:
        return signs_product(grad, delta, c).flatten(1).sum(dim=1).expand(3, -1)
    c = c.squeeze(-1)
    dot = torch.mul(grad, delta, out=scratch).sum(dim=2)
    norms = _norms(grad).clamp_(min=TINY) * (c.abs() * _norms(delta)).clamp_(min=TINY)
    h = (c * dot / norms).flatten(1).sum(dim=1)
    return h.expand(3, -1)


def _norms(x: Tensor) -> Tensor:
    """‖·‖₂ along the rows of a block: shape (tensors, rows, elements between neighbours)."""
    count, rows, length, between = x.shape
    lines = x.reshape(count * rows, length) if between == 1 else x.reshape(count * rows, length, between)
    return line_norms(lines).view(count, rows, between)


def take_l2sp(rule: L2SP, unit: Unit) -> tuple[()]:
    """L2-SP: one pass."""
    lam = unit.bucket.group["lam"]
    if not lam:
        unit.update()
        return ()
    for index, (grad, param, anchor) in enumerate(unit.blocks("grad", "param", "anchor")):
        scratch = unit.scratch.like(grad)
        delta = _delta(param, anchor, scratch)
        unit.update_block(index, torch.add(grad, delta, alpha=lam, out=scratch))
    return ()


def take_mars_sp(rule: MARSSP, unit: Unit) -> tuple[()]:
    """MARS-SP: a pass that finds the row, then the base update, whose gradient differs on that row alone."""
    lam = unit.bucket.group["lam"]
    if not lam:
        unit.update()
        return ()
    sums = []
    for param, anchor in unit.blocks("param", "anchor"):
        scratch = unit.scratch.like(param)
        sums.append(torch.abs(_delta(param, anchor, scratch), out=scratch).sum(dim=(2, 3)))
    norms = torch.cat(sums, dim=1)
    chosen = torch.where(torch.isnan(norms), -1.0, norms).argmax(dim=1).tolist()
    for tensor, row in enumerate(chosen):
        _penalise(unit, tensor, row, lam)
    unit.update()
    return ()


def _penalise(unit: Unit, tensor: int, row: int, lam: float) -> None:
    """Put a gradient with the penalty of one row in place of the tensor's own, which is left unchanged."""
    bucket = unit.bucket
    param, grad = bucket.params[tensor], bucket.grads[tensor]
    anchor = bucket.states[tensor].get("anchor")
    rows = unit.shape[1]
    own = param.view(rows, -1)[row]
    delta = own if anchor is None else own - anchor.view(rows, -1)[row]
    changed = grad.clone()
    changed.view(rows, -1)[row].add_(delta.sign(), alpha=lam)
    bucket.grads[tensor] = changed


def update_spd(rule: SPD, unit: Unit) -> tuple[Tensor, ...]:
    """SPD's first pass: the base update; <g, δ>, ‖δ‖² and ‖δ'‖² of each tensor."""
    rows = []
    blocks = unit.blocks("grad", "param", "anchor")
    for index, (grad, param, anchor) in enumerate(blocks):
        scratch = unit.scratch.like(grad)
        delta = _delta(param, anchor, scratch)
        before = _dot(grad, delta, torch.empty_like(delta) if len(delta) > 1 else scratch), _square(delta)
        unit.update_block(index, grad)
        if not unit.large:
            param = unit.blocks("param")[0][0]
        rows.append(torch.stack([*before, _square(_delta(param, anchor, scratch))]))
    return tuple(torch.stack(rows).sum(dim=0))


def shrink_spd(unit: Unit, factors: Tensor) -> None:
    """SPD's second pass: a part of δ' is taken back."""
    if not factors.any():
        return
    for param, anchor in unit.blocks("param", "anchor"):
        scratch = unit.scratch.like(param)
        delta = _delta(param, anchor, scratch)
        param.sub_(torch.mul(delta, unit.per_tensor(factors), out=scratch))
        unit.write("param", param)


def _square(x: Tensor) -> Tensor:
    """‖x‖² of each tensor of a block: shape (tensors,)."""
    if len(x) == 1:
        return torch.dot(x.reshape(-1), x.reshape(-1)).view(1)
    return line_norms(x.flatten(1)).square()


def update_ftp(rule: FTP, unit: Unit) -> tuple[Tensor | None, ...]:
    """FTP's first pass: the base update; h (None at t = 1) and the largest row sum of each tensor. The sums are left
    for the second one."""
    bucket, hyper = unit.bucket, []
    blocks = unit.blocks("grad", "param", "anchor", "candidate")
    for index, (grad, param, anchor, candidate) in enumerate(blocks):
        scratch = unit.scratch.like(grad)
        if bucket.step > 1:
            dots = torch.mul(grad, candidate, out=scratch).sum(dim=(2, 3))
            before = torch.abs(candidate, out=scratch).sum(dim=(2, 3))
            hyper.append((dots / (before + LEAST)).sum(dim=1))
        unit.update_block(index, grad)
        if not unit.large:
            param = unit.blocks("param")[0][0]
        _renew(param, anchor, candidate)
        unit.write("candidate", candidate)
        unit.sums.append(torch.abs(candidate, out=scratch).sum(dim=(2, 3)) + LEAST)
    every = torch.cat(unit.sums, dim=1)
    largest = torch.where(torch.isfinite(every), every, 0.0).amax(dim=1)
    largest = torch.where(largest > 0, largest, torch.inf)
    return torch.stack(hyper).sum(dim=0) if hyper else None, largest


def decide_ftp(rule: FTP, bucket: Bucket, h: Tensor | None, largest: Tensor) -> Tensor:
    """γ of each tensor."""
    return rule.bound(bucket, rule.learn(bucket, h), largest)


def shrink_ftp(unit: Unit, gamma: Tensor) -> None:
    """FTP's second pass: rows longer than γ are shortened."""
    if not any((gamma.view(-1, 1) < sums).any() for sums in unit.sums):
        return
    for (param, anchor), s in zip(unit.blocks("param", "anchor"), unit.sums, strict=True):
        ratio = torch.where(torch.isfinite(s), (gamma.view(-1, 1) / s).clamp_(max=1.0), 1.0)[:, :, None, None]
        # lerp returns exactly θ' where the ratio is 1
        param.mul_(ratio) if anchor is None else torch.lerp(anchor, param, ratio, out=param)
        unit.write("param", param)


class Passes(NamedTuple):
    """A rule: the first pass over a unit, what decides a number per tensor, the second pass with it; None: there is
    none."""

    first: Callable[[Any, Unit], tuple[Tensor | None, ...]]
    decide: Callable[..., Tensor] | None = None
    second: Callable[[Unit, Tensor], None] | None = None


RULES = {
    "digrap": Passes(sum_digrap, DiGraP.decide, update_digrap),
    "ftp": Passes(update_ftp, decide_ftp, shrink_ftp),
    "l2sp": Passes(take_l2sp),
    "mars_sp": Passes(take_mars_sp),
    "spd": Passes(update_spd, SPD.decide, shrink_spd),
}
