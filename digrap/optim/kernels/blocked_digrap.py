"""DiGraP on the blocks of `digrap.optim.kernels.blocked_units`. Formulas are those of `digrap.optim.digrap`."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from digrap.optim.bucket import Bucket
from digrap.optim.digrap import TINY, DiGraP, hyper_gradient, signs_product
from digrap.optim.kernels.blocked_units import Unit, displacement, renew


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
        return _sum_lines(unit)
    blocks = unit.blocks("grad", "param", "anchor", "delta")
    sums: list[Tensor] = []
    hyper: list[Tensor] = []
    for grad, param, anchor, delta in blocks:
        if late:
            hyper.append(_hyper_sums(unit, grad, delta))
        if learnt:
            renew(param, anchor, delta)
        else:
            delta = displacement(param, anchor, unit.scratch.like(grad))
        sums.append(torch.stack([unit.dot(grad, delta), unit.dot(delta, delta), unit.dot(grad, grad)]))
    if learnt:
        unit.write("delta", blocks[0][3])
    found = torch.stack(sums).sum(dim=0)
    return torch.vstack([found, hyper_gradient(unit.bucket, torch.stack(hyper).sum(dim=0))]) if late else found


def _hyper_sums(unit: Unit, grad: Tensor, delta: Tensor) -> Tensor:
    """As the rule's `_hyper_sums`, of a block whose rows are whole tensors or short: shape (3, tensors)."""
    bucket = unit.bucket
    pairs = (grad, delta), (grad, grad), (delta, delta)
    if bucket.params[0].ndim < 2 or bucket.group["normalize"] != "rows":
        return torch.stack([unit.dot(a, b) for a, b in pairs])
    c = bucket.numbers("projection")
    if unit.length == 1:
        h = signs_product(grad, delta, unit.for_rows(c))
    else:
        dots, g2, x2 = (unit.line_dots(a, b) for a, b in pairs)
        h = _cosines(c.repeat_interleave(len(dots) // unit.count), dots, g2, x2)
    return unit.total(h).expand(3, -1)


def _cosines(c: Tensor, dots: Tensor, g2: Tensor, x2: Tensor) -> Tensor:
    """unit(g) · unit(c x) of each row."""
    return (c * dots).div_(g2.sqrt().clamp_(min=TINY).mul_(x2.sqrt().mul_(c.abs()).clamp_(min=TINY)))


def _sum_lines(unit: Unit) -> Lines:
    """The sums along the rows of a unit; δ is written."""
    known = unit.known("delta")
    found = Lines(unit.count, [], [], known or [], [], [])
    blocks = unit.blocks("grad", "param", "anchor", "delta")
    for grad, param, anchor, delta in blocks:
        found.dots.append(unit.line_dots(grad, delta))
        found.g2.append(unit.line_dots(grad, grad))
        if known is None:
            found.before.append(unit.line_dots(delta, delta))
        renew(param, anchor, delta)
        found.after.append(unit.line_dots(delta, delta))
        found.d.append(unit.line_dots(grad, delta))
    unit.write("delta", blocks[0][3])
    unit.keep("delta", found.after)
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
        delta = known[0] if learnt else displacement(*known, scratch)
        unit.update_block(index, _added(unit, grad, delta, factors, scratch))


def _added(unit: Unit, grad: Tensor, delta: Tensor, factors: Tensor, out: Tensor) -> Tensor:
    """g + s δ, written to `out`."""
    if unit.count == 1:
        return torch.add(grad, delta, alpha=factors.item(), out=out)
    return torch.addcmul(grad, delta, unit.for_rows(factors), out=out)
