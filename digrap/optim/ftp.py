"""FTP, Fast Trainable Projection (Tian et al. 2023, arXiv 2310.19182): a learnt bound γ on the row norms of θ − θ0.

Per tensor, with the candidate θ' after the base update; row sums run over dimensions ≥ 1 (a vector is one row):

    c = θ' − θ0,   s = ‖c‖₁ by rows + 1e-8
    γ = 1e-8 at t = 1;   t > 1: h = Σ_rows <g, c_{t−1}> / s_{t−1};  if h > 0: h ← k h;  γ ← γ − µ · Adam(h)
    γ ← clamp(γ, 1e-8, max s);   θ ← θ0 + clamp(γ/s, 0, 1) · c
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from digrap.optim.base import AnchoredOptimizer, Common
from digrap.optim.bucket import Bucket
from digrap.optim.tensors import magnitudes, number_for, pick, product, row_sums, table
from digrap.optim.validate import at_least_zero

TINY = 1e-8  # lower bound of γ; also added to the norms


class FTP(AnchoredOptimizer):
    """FTP over AdamW or SGD. Give a new head's group anchor="none".

    Args:
        params, lr, betas, eps, weight_decay: as torch.optim.AdamW's.
        k: in [0, 1], factor of positive hyper-gradients; a smaller k makes the bound γ shrink less.
        mu: µ ≥ 0, learning rate of γ.
        common: base, momentum, nesterov, anchor, foreach, fused, capturable: see `AnchoredOptimizer`.
    """

    bounded = True
    kernel = "ftp"
    shards = "summed"
    scalars = ("gamma", "gamma_exp_avg", "gamma_exp_avg_sq")

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        k: float = 1.0,
        mu: float = 1e-2,
        **common: Unpack[Common],
    ):
        super().__init__(params, lr, betas, eps, weight_decay, **common, k=k, mu=mu)

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(mu=group["mu"])
        if not 0.0 <= group["k"] <= 1.0:
            raise ValueError(f"k={group['k']} is outside [0, 1]")

    def new_state(self, param: Tensor, group: dict[str, Any], anchor: Tensor | None = None) -> dict[str, Any]:
        state = super().new_state(param, group, anchor)
        if group["anchor"] != "none":
            state["candidate"] = torch.zeros_like(param, memory_format=torch.preserve_format)  # c_{t−1}
            state |= {key: number_for(param, TINY if key == "gamma" else 0.0) for key in self.scalars}
        return state

    def anchored_update(self, bucket: Bucket) -> None:
        gamma = self.learn(bucket, self._hyper_gradient(bucket) if bucket.step != 1 else None)
        self.plain_update(bucket)
        candidate = self.displacement(bucket, out=bucket.gather("candidate"))
        sums, largest = _norms(bucket, candidate)
        gamma = self.bound(bucket, gamma, largest)
        anchors = bucket.gather("anchor") if bucket.group["anchor"] != "zero" else [None] * len(sums)
        for param, anchor, s, bound in zip(bucket.params, anchors, sums, gamma.unbind(), strict=True):
            ratio = torch.where(torch.isfinite(s), (bound / s).clamp(max=1.0), 1.0).to(param.dtype)
            if anchor is None:
                param.mul_(ratio)
            else:  # lerp returns exactly θ' where the ratio is 1
                torch.lerp(anchor, param, ratio, out=param)

    def learn(self, bucket: Bucket, h: Tensor | None) -> Tensor:
        """γ after a step on the hyper-gradient (None at t = 1), before the base counts the step; both of shape
        (number of tensors,)."""
        if h is None:
            return bucket.numbers("gamma")
        return bucket.learn("gamma", torch.where(h > 0, bucket.group["k"] * h, h), bucket.group["mu"])

    def bound(self, bucket: Bucket, gamma: Tensor, largest: Tensor) -> Tensor:
        """γ within 1e-8 and the largest row sum; each of shape (number of tensors,). It is stored."""
        gamma = torch.minimum(gamma.clamp(min=TINY), largest)
        bucket.store(gamma=gamma)
        return gamma

    def _hyper_gradient(self, bucket: Bucket) -> Tensor:
        """h of each tensor: dL/dγ for θ = θ0 + γ c / s with c and s of the previous step; shape (number of
        tensors,)."""
        pairs = zip(bucket.grads, bucket.gather("candidate"), strict=True)
        dots, sums = bucket.total(table([_hyper_sums(g, c) for g, c in pairs]))
        return pick([param.ndim < 2 for param in bucket.params], dots / (sums + TINY), dots)


def _hyper_sums(g: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """What h of one tensor is made of, before it is summed over the ranks: <g, c> and ‖c‖₁ of a vector, whose one row
    may be cut; else h twice."""
    dots, sums = row_sums(product(g, c)), row_sums(magnitudes(c))
    if g.ndim < 2:
        return dots.sum(), sums.sum()
    h = (dots / (sums + TINY)).sum()
    return h, h


def _norms(bucket: Bucket, candidate: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """s of this rank's rows, one tensor per parameter, and the largest finite s of each tensor over all ranks, ∞ where
    there is none: shape (number of tensors,)."""
    vectors = [c.ndim < 2 for c in candidate]
    sums = [row_sums(magnitudes(c)) for c in candidate]
    found = [s.sum() if vector else _largest(s + TINY) for s, vector in zip(sums, vectors, strict=True)]
    ranks = bucket.by_rank(torch.stack(found))
    totals = ranks.sum(dim=0) + TINY
    largest = pick(vectors, torch.where(torch.isfinite(totals), totals, 0.0), ranks.amax(dim=0))
    both = zip(sums, totals.unbind(), vectors, strict=True)
    return [total if vector else s + TINY for s, total, vector in both], torch.where(largest > 0, largest, torch.inf)


def _largest(sums: Tensor) -> Tensor:
    """The largest finite number, 0 if there is none; 0-dim."""
    return torch.where(torch.isfinite(sums), sums, 0.0).max() if sums.numel() else sums.new_zeros(())
