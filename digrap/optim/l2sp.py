"""L2-SP (Li, Grandvalet & Davoine 2018, arXiv 1802.01483): a penalty λ/2 ‖θ − θ0‖² on the distance to the anchor.

g' = g + λ δ,   δ = θ − θ0;   θ ← base update with g'
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from digrap.optim.base import AnchoredOptimizer, Common
from digrap.optim.bucket import Bucket
from digrap.optim.validate import at_least_zero


class L2SP(AnchoredOptimizer):
    """L2-SP over AdamW or SGD. The penalty is added to a group's weight_decay, which pulls towards zero: set that to 0
    if only the anchor should pull. A group without anchor (a new head) only has its weight_decay.

    Args:
        params, lr, betas, eps, weight_decay: as torch.optim.AdamW's.
        lam: λ ≥ 0, strength of the penalty.
        common: base, momentum, nesterov, anchor, foreach, fused, capturable: see `AnchoredOptimizer`.
    """

    kernel = "l2sp"
    shards = "elementwise"

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
        return list(torch._foreach_add(bucket.grads, self.displacement(bucket), alpha=bucket.group["lam"]))
