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
from digrap.optim.tensors import number_for, row_sums, wide
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
        group, gamma = bucket.group, bucket.numbers("gamma")
        if bucket.step > 1:
            h = _hyper_gradient(bucket.grads, bucket.gather("candidate"))
            gamma = bucket.learn("gamma", torch.where(h > 0, group["k"] * h, h), group["mu"])
        self.base_update(bucket, bucket.grads)
        candidate = self.displacement(bucket, out=bucket.gather("candidate"))
        sums = [row_sums(c.abs()) + TINY for c in wide(candidate)]
        gamma = torch.minimum(gamma.clamp(min=TINY), torch.stack([s.max() for s in sums]))
        bucket.store(gamma=gamma)
        ratios = [(g / s).clamp(max=1.0) for g, s in zip(gamma.unbind(), sums, strict=True)]
        anchors = bucket.gather("anchor") if group["anchor"] != "zero" else [None] * len(ratios)
        for param, anchor, ratio in zip(bucket.params, anchors, ratios, strict=True):
            ratio = ratio.to(param.dtype)
            if anchor is None:
                param.mul_(ratio)
            else:  # lerp returns exactly θ' where the ratio is 1
                param.copy_(torch.lerp(anchor, param, ratio))


def _hyper_gradient(grads: list[Tensor], candidates: list[Tensor]) -> Tensor:
    """h of each tensor, stacked: dL/dγ for θ = θ0 + γ c / s."""
    pairs = zip(wide(grads), wide(candidates), strict=True)
    return torch.stack([(row_sums(g * c) / (row_sums(c.abs()) + TINY)).sum() for g, c in pairs])
