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
from digrap.optim.tensors import magnitudes, pick, row_sums
from digrap.optim.validate import at_least_zero


class MARSSP(AnchoredOptimizer):
    """MARS-SP over AdamW or SGD.

    Args:
        params, lr, betas, eps, weight_decay: as torch.optim.AdamW's.
        lam: λ ≥ 0, strength of the penalty.
        common: base, momentum, nesterov, anchor, foreach, fused, capturable: see `AnchoredOptimizer`.
    """

    kernel = "mars_sp"
    shards = "summed"

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

    def plan(self, bucket: Bucket) -> Tensor:
        """The index of the row with the largest ℓ1 norm (the first, if several) among this rank's rows of each tensor,
        −1 where another rank has it: shape (number of tensors,)."""
        found = [_largest(*self.displacement(one)) for one in bucket.singles()]
        largest, index = (torch.stack(numbers) for numbers in zip(*found, strict=True))
        owner = bucket.by_rank(largest).argmax(dim=0)
        vectors = [param.ndim < 2 for param in bucket.params]  # one row, also where the ranks have pieces of it
        here = owner == (0 if bucket.layout is None else bucket.layout.rank)
        return pick(vectors, torch.zeros_like(index), torch.where(here, index, -1))

    def adjust_gradients(self, bucket: Bucket) -> list[Tensor]:
        rows = self.plan(bucket) if bucket.plan is None else bucket.plan
        pairs = zip(self.displacement(bucket), rows.unbind(), strict=True)
        slopes = [_subgradient(delta, row) for delta, row in pairs]
        return list(torch._foreach_add(bucket.grads, slopes, alpha=bucket.group["lam"]))


def _largest(delta: Tensor) -> tuple[Tensor, Tensor]:
    """The largest ℓ1 norm of a row and the index of that row, as 0-dim numbers; −2 and −1 without rows. A norm that is
    NaN counts as −1."""
    norms = row_sums(magnitudes(delta)).flatten()
    if not norms.numel():
        return norms.new_tensor(-2.0), norms.new_tensor(-1, dtype=torch.int64)
    norms = torch.where(norms.isnan(), -1.0, norms)
    return norms.max(), norms.argmax()


def _subgradient(delta: Tensor, row: Tensor) -> Tensor:
    """sign(δ) on the row of that index, 0 elsewhere; same shape and dtype as δ."""
    if delta.ndim < 2:
        return delta.sign()
    rows = torch.arange(delta.shape[0], device=delta.device).view(-1, *[1] * (delta.ndim - 1))
    return delta.sign().mul_(rows == row)
