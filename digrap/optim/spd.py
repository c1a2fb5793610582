"""SPD, Selective Projection Decay (Tian et al. 2024, arXiv 2411.01713): undoes a part of the growth of ‖θ − θ0‖.

Per tensor, with the candidate θ' after the base update (its weight decay included) and the raw gradient g:

    if <g, θ − θ0> > 0:   r = clamp((‖θ'−θ0‖ − ‖θ−θ0‖) / ‖θ'−θ0‖, 0, 1);   θ' ← θ' − strength · r · (θ' − θ0)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from digrap.optim.base import AnchoredOptimizer, Common
from digrap.optim.bucket import Bucket
from digrap.optim.tensors import inner, scaled, table
from digrap.optim.validate import at_least_zero


class SPD(AnchoredOptimizer):
    """SPD over AdamW or SGD.

    Args:
        params, lr, betas, eps, weight_decay: as torch.optim.AdamW's.
        strength: ≥ 0, the paper's hyper-parameter of the projection (its authors' code calls it weight decay);
            0 changes nothing.
        common: base, momentum, nesterov, anchor, foreach, fused, capturable: see `AnchoredOptimizer`.
    """

    kernel = "spd"
    shards = "summed"

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        strength: float = 0.5,
        **common: Unpack[Common],
    ):
        super().__init__(params, lr, betas, eps, weight_decay, **common, strength=strength)

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(strength=group["strength"])

    def anchored_update(self, bucket: Bucket) -> None:
        before = [self._before(one) for one in bucket.singles()]
        self.plain_update(bucket)
        rows = [(*sums, self._square(one)) for sums, one in zip(before, bucket.singles(), strict=True)]
        d, *squares = bucket.total(table(rows))
        bucket.plan = self.decide(bucket, d, *squares)
        for part in bucket.parts():
            torch._foreach_sub_(part.params, scaled(self.displacement(part), part.plan))

    def decide(self, bucket: Bucket, d: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """The share of δ' that is taken back from <g, δ>, ‖δ‖² and ‖δ'‖²; each of shape (number of tensors,)."""
        start, end = before.sqrt(), after.sqrt()
        ratio = torch.where(end > 0, (end - start) / end, 0.0).clamp(0.0, 1.0)
        selected = (d > 0) & torch.isfinite(d) & torch.isfinite(start) & torch.isfinite(end)
        return torch.where(selected, bucket.group["strength"] * ratio, 0.0)

    def _before(self, one: Bucket) -> tuple[Tensor, Tensor]:
        """<g, δ> and ‖δ‖² of a bucket of one tensor before the base update; 0-dim."""
        (delta,) = self.displacement(one)
        return inner(one.grads[0], delta), inner(delta, delta)

    def _square(self, one: Bucket) -> Tensor:
        """‖δ‖² of a bucket of one tensor; 0-dim."""
        (delta,) = self.displacement(one)
        return inner(delta, delta)
