"""DiGraP: Directional Gradient Projection (arXiv 2502.15895, Algorithm 1).

With δ = θ − θ0, per tensor:

    d = <g, δ>,  n = <δ, δ>,  p = (d/n) δ                      the component of the gradient along δ
    h = Σ unit(g) ⊙ unit(p of the previous step)               for t > 1, the hyper-gradient of ω
    ω ← clamp(ω − µ · Adam(h), 0, ω_max)                       ω = 0 at t = 1
    g' = g − ω p  where d < 0 (descent would move away from θ0),  g elsewhere
    θ ← base update with g' (+ λ δ)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from digrap.optim.base import AnchoredOptimizer, Common
from digrap.optim.bucket import Bucket
from digrap.optim.diagnostics import omega_report
from digrap.optim.tensors import dots, number_for, scaled, wide
from digrap.optim.validate import at_least_zero, one_of

RULES = ("conflict", "listing")
NORMALIZE = ("rows", "tensor", "none")
TINY = 1e-12  # lower bound of norms, as in torch.nn.functional.normalize


class DiGraP(AnchoredOptimizer):
    """DiGraP over AdamW or SGD. `DiGraP(model.parameters(), lr=1e-3)` anchors a model at its present weights.

    Args:
        params: parameters, named parameters or groups, as for any torch optimizer.
        lr, betas, eps, weight_decay: as torch.optim.AdamW's.
        common: base, momentum, nesterov, anchor, foreach, fused, capturable: see `AnchoredOptimizer`.
        mu: µ, learning rate of the projection strength ω (≥ 0).
        lam: λ ≥ 0, adds λ δ to the gradient (an L2-SP penalty λ/2 ‖δ‖²).
        rule: "conflict" projects where d < 0 (the paper's Fig. 1), "listing" where d ≥ 0 (Algorithm 1 as printed).
        normalize: unit(·) over "rows" (along dimension 1; dimension 0 of vectors), the whole "tensor", or "none"
            (then h = α_{t−1} <g, p_{t−1}>).
        omega: None learns ω; a number in [0, omega_max] fixes it from the first step on.
        omega_max: upper bound of ω.

    Raises:
        ValueError: a hyper-parameter out of range, an unknown choice, anchors of the wrong shape, complex parameters.
        TypeError: an unknown argument.
        RuntimeError: a sparse or complex gradient, in `step`.
    """

    kernel = "digrap"
    scalars = ("omega", "omega_exp_avg", "omega_exp_avg_sq", "projection", "removed", "conflicts")

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        mu: float = 0.1,
        lam: float = 0.0,
        rule: str = "conflict",
        normalize: str = "rows",
        omega: float | None = None,
        omega_max: float = 1.0,
        **common: Unpack[Common],
    ):
        super().__init__(
            params, lr, betas, eps, weight_decay, **common,
            mu=mu, lam=lam, rule=rule, normalize=normalize, omega=omega, omega_max=omega_max,
        )  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(mu=group["mu"], lam=group["lam"], omega_max=group["omega_max"])
        one_of("rule", group["rule"], RULES)
        one_of("normalize", group["normalize"], NORMALIZE)
        if group["omega"] is not None and not 0.0 <= group["omega"] <= group["omega_max"]:
            raise ValueError(f"omega={group['omega']} is outside [0, omega_max={group['omega_max']}]")

    def new_state(self, param: Tensor, group: dict[str, Any], anchor: Tensor | None = None) -> dict[str, Any]:
        state = super().new_state(param, group, anchor)
        if group["anchor"] == "none":
            return state
        keys = ["removed", "conflicts"]
        if group["omega"] is None:
            keys += ["omega", "omega_exp_avg", "omega_exp_avg_sq", "projection"]
            # The previous step's p is projection · delta: exact, whatever happens to θ between the steps.
            state["delta"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        return state | {key: number_for(param) for key in keys}

    def adjust_gradients(self, bucket: Bucket) -> list[Tensor]:
        group, grads, learnt = bucket.group, bucket.grads, bucket.group["omega"] is None
        if learnt:
            omega = self._learn_omega(bucket) if bucket.step > 1 else bucket.numbers("omega")
        # δ overwrites that of the previous step, which ω no longer needs, so it takes no memory of its own.
        delta = self.displacement(bucket, out=bucket.gather("delta") if learnt else None)
        d, n = dots(grads, delta), dots(delta, delta)
        if not learnt:
            omega = torch.full_like(d, group["omega"])
        projection = torch.where(n > 0, d / n, 0.0)
        conflict = d < 0
        strength = torch.where(conflict if group["rule"] == "conflict" else ~conflict, omega, 0.0)
        self._record(bucket, d, projection, strength, conflict)
        if learnt:
            # h of the next step contains this α, except where unit(·) cancels it
            scale = group["lr"] if group["normalize"] == "none" else 1.0
            bucket.store(projection=projection * scale)
        adjusted = scaled(delta, group["lam"] - strength * projection)
        torch._foreach_add_(adjusted, grads)
        return adjusted

    def _learn_omega(self, bucket: Bucket) -> Tensor:
        """ω of each tensor after one Adam step on h = Σ unit(g) ⊙ unit(p_{t−1}): shape (number of tensors,)."""
        group = bucket.group
        h = _hyper_gradient(bucket.grads, bucket.gather("delta"), bucket.numbers("projection"), group["normalize"])
        omega = bucket.learn("omega", h, group["mu"]).clamp(0.0, group["omega_max"])
        bucket.store(omega=omega)
        return omega

    def _record(self, bucket: Bucket, d: Tensor, projection: Tensor, strength: Tensor, conflict: Tensor) -> None:
        """Store the share of ‖g‖² that is projected out, from ‖g'‖² = ‖g‖² − (2ω − ω²) d²/n, and count conflicts."""
        energy = dots(bucket.grads, bucket.grads)
        taken = (2 - strength) * strength * d * projection
        removed = torch.where(energy > 0, taken / energy, 0.0)
        bucket.store(removed=removed, conflicts=bucket.numbers("conflicts") + conflict)

    def omega_report(self) -> dict[str, dict[str, float]]:
        """ω by parameter name, for logs and plots; reads the device once. See `digrap.optim.diagnostics`."""
        return omega_report(self)


def _hyper_gradient(grads: list[Tensor], delta: list[Tensor], scale: Tensor, normalize: str) -> Tensor:
    """h of each tensor for p_{t−1} = scale · delta: shape (number of tensors,)."""
    if normalize == "none":
        return scale * dots(grads, delta)
    grads, delta = wide(grads), wide(delta)
    products = torch._foreach_mul(grads, delta)
    parts = []
    for g, x, gx, c in zip(grads, delta, products, scale.unbind(), strict=True):
        if g.ndim == 0 or normalize == "tensor":
            norms = torch.linalg.vector_norm(g), torch.linalg.vector_norm(x)
            dot = gx.sum()
        else:
            dim = 1 if g.ndim > 1 else 0
            norms = torch.linalg.vector_norm(g, dim=dim), torch.linalg.vector_norm(x, dim=dim)
            dot = gx.sum(dim=dim)
        parts.append((c * dot / (norms[0].clamp(min=TINY) * (c.abs() * norms[1]).clamp(min=TINY))).sum())
    return torch.stack(parts)
