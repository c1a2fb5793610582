"""MARS-SP (Gouk, Hospedales & Pontil 2021, arXiv 2002.08253): a penalty on the largest row ℓ1 norm of θ − θ0.

Per tensor, with δ = θ − θ0 and rows along the first dimension (kernels are out × rest; a vector is one row):

    penalty λ max_i ‖δ_i‖₁   →   g'_i = g_i + λ sign(δ_i) for the first row i with the largest norm, g elsewhere
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from digrap.optim.base import AnchoredOptimizer, Common
from digrap.optim.bucket import Bucket
from digrap.optim.tensors import row_sums, wide
from digrap.optim.validate import at_least_zero


class MARSSP(AnchoredOptimizer):
    """MARS-SP over AdamW or SGD.

    Args:
        params, lr, betas, eps, weight_decay: as torch.optim.AdamW's.
        lam: λ ≥ 0, strength of the penalty.
        common: base, momentum, nesterov, anchor, foreach, fused, capturable: see `AnchoredOptimizer`.
    """

    kernel = "mars_sp"

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        lam: float = 0.01,
        **common: Unpack[Common],
    ):
        super().__init__(params, lr, betas, eps, weight_decay, **common, lam=lam)

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(lam=group["lam"])

    def adjust_gradients(self, bucket: Bucket) -> list[Tensor]:
        slopes = [_subgradient(delta) for delta in self.displacement(bucket)]
        return list(torch._foreach_add(bucket.grads, slopes, alpha=bucket.group["lam"]))


def _subgradient(delta: Tensor) -> Tensor:
    """sign(δ) on the row with the largest ℓ1 norm (the first, if several), 0 elsewhere; same shape and dtype as δ."""
    norms = row_sums(wide([delta])[0].abs())
    rows = torch.arange(norms.numel(), device=delta.device).view_as(norms)
    return delta.sign() * (rows == norms.argmax())
