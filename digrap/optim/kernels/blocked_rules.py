"""The update rules on the blocks of `digrap.optim.kernels.blocked`. Formulas and numbers are those of the rules' own
modules; `decide` is theirs."""

from __future__ import annotations

import torch
from torch import Tensor

from digrap.optim.digrap import TINY, DiGraP, hyper_gradient, signs_product
from digrap.optim.ftp import FTP
from digrap.optim.ftp import TINY as LEAST
from digrap.optim.kernels.blocked import Unit
from digrap.optim.l2sp import L2SP
from digrap.optim.mars_sp import MARSSP
from digrap.optim.spd import SPD
from digrap.optim.tensors import line_norms


def _dot(a: Tensor, b: Tensor, scratch: Tensor) -> Tensor:
    """<a, b> of each tensor of a block: shape (tensors,)."""
    if len(a) == 1:
        return torch.dot(a.reshape(-1), b.reshape(-1)).view(1)
    return torch.mul(a, b, out=scratch).flatten(1).sum(dim=1)


def _delta(param: Tensor, anchor: Tensor | None, out: Tensor) -> Tensor:
    """δ, written to `out` unless θ0 = 0."""
    return param if anchor is None else torch.sub(param, anchor, out=out)


def take_digrap(rule: DiGraP, unit: Unit) -> None:
    """DiGraP: a pass that sums, then one in reverse that updates."""
    bucket, group = unit.bucket, unit.bucket.group
    learnt = group["omega"] is None
    late = learnt and bucket.step > 1
    blocks = unit.blocks("grad", "param", "anchor", "delta")
    sums: list[Tensor] = []
    hyper: list[Tensor] = []
    for grad, param, anchor, delta in blocks:
        scratch = unit.scratch.like(grad)
        if late:
            hyper.append(_hyper_sums(unit, grad, delta, scratch))
        if learnt:
            torch.sub(param, anchor, out=delta) if anchor is not None else delta.copy_(param)
        else:
            delta = _delta(param, anchor, scratch.clone() if anchor is not None else scratch)
        sums.append(torch.stack([_dot(grad, delta, scratch), _dot(delta, delta, scratch), _dot(grad, grad, scratch)]))
    h = hyper_gradient(bucket, torch.stack(hyper).sum(dim=0)) if late else None
    factors = rule.decide(bucket, *torch.stack(sums).sum(dim=0), h)
    if learnt:
        unit.write("delta", blocks[0][3])
    if not factors.any():
        unit.update()
        return
    for index in reversed(range(len(blocks))):
        grad, param, anchor, delta = blocks[index]
        scratch = unit.scratch.like(grad)
        delta = delta if learnt else _delta(param, anchor, scratch)
        unit.update_block(index, _added(grad, delta, factors, scratch))


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
    sums = []
    for param, anchor in unit.blocks("param", "anchor"):
        scratch = unit.scratch.like(param)
        sums.append(torch.abs(_delta(param, anchor, scratch), out=scratch).sum(dim=(2, 3)))
    norms = torch.cat(sums, dim=1)
    chosen = torch.where(torch.isnan(norms), -1.0, norms).argmax(dim=1).tolist()
    for tensor, row in enumerate(chosen):
        _penalise(unit, tensor, row, lam)
    unit.update()


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


def take_spd(rule: SPD, unit: Unit) -> None:
    """SPD: one pass, and a second where a tensor shrinks."""
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
    factors = rule.decide(unit.bucket, *torch.stack(rows).sum(dim=0))
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


def take_ftp(rule: FTP, unit: Unit) -> None:
    """FTP: one pass, and a second where a row is longer than γ."""
    bucket = unit.bucket
    hyper, sums = [], []
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
        torch.sub(param, anchor, out=candidate) if anchor is not None else candidate.copy_(param)
        unit.write("candidate", candidate)
        sums.append(torch.abs(candidate, out=scratch).sum(dim=(2, 3)) + LEAST)
    every = torch.cat(sums, dim=1)
    largest = torch.where(torch.isfinite(every), every, 0.0).amax(dim=1)
    largest = torch.where(largest > 0, largest, torch.inf)
    gamma = rule.bound(bucket, rule.learn(bucket, torch.stack(hyper).sum(dim=0) if hyper else None), largest)
    if not (gamma < largest).any():
        return
    for (param, anchor), s in zip(unit.blocks("param", "anchor"), sums, strict=True):
        ratio = torch.where(torch.isfinite(s), (gamma.view(-1, 1) / s).clamp_(max=1.0), 1.0)[:, :, None, None]
        # lerp returns exactly θ' where the ratio is 1
        param.mul_(ratio) if anchor is None else torch.lerp(anchor, param, ratio, out=param)
        unit.write("param", param)


RULES = {"digrap": take_digrap, "ftp": take_ftp, "l2sp": take_l2sp, "mars_sp": take_mars_sp, "spd": take_spd}
