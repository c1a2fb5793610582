"""DiGraP: Directional Gradient Projection (arXiv 2502.15895, Algorithm 1).

With δ = θ − θ0, per tensor:

    d = <g, δ>,  n = <δ, δ>,  p = (d/n) δ                      the component of the gradient along δ
    h = Σ unit(g) ⊙ unit(p of the previous step)               for t > 1, the hyper-gradient of ω
    ω ← clamp(ω − µ · Adam(h), 0, ω_max)                       ω = 0 at t = 1
    g' = g − ω p  where d < 0 (descent would move away from θ0),  g elsewhere
    θ ← base update with g' (+ λ δ)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from digrap.optim import low_memory
from digrap.optim.base import AnchoredOptimizer, Common
from digrap.optim.bucket import Bucket
from digrap.optim.diagnostics import omega_report
from digrap.optim.low_memory import LAST
from digrap.optim.tensors import inner, line_norms, number_for, pick, product, scaled, table, tiny_square, wide
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
        low_memory: rebuild δ of the previous step from the parameters and the moments instead of keeping it: one
            parameter-sized tensor less, one pass more. For float32 or float64 parameters that nothing but the optimizer
            writes to, over AdamW or SGD with momentum; see `edited` and `digrap.optim.low_memory`.

    Raises:
        ValueError: a hyper-parameter out of range, an unknown choice, anchors of the wrong shape, complex parameters.
        TypeError: an unknown argument.
        RuntimeError: a sparse or complex gradient, in `step`.
    """

    kernel = "digrap"
    shards = "summed"
    scalars = ("omega", "omega_exp_avg", "omega_exp_avg_sq", "projection", "removed", "conflicts", *LAST)

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
        low_memory: bool = False,
        **common: Unpack[Common],
    ):
        super().__init__(
            params, lr, betas, eps, weight_decay, **common,
            mu=mu, lam=lam, rule=rule, normalize=normalize, omega=omega, omega_max=omega_max, low_memory=low_memory,
        )  # fmt: skip

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(mu=group["mu"], lam=group["lam"], omega_max=group["omega_max"])
        one_of("rule", group["rule"], RULES)
        one_of("normalize", group["normalize"], NORMALIZE)
        if isinstance(group["omega"], (str, bool)):
            raise ValueError(f"omega={group['omega']!r} is not a number; None learns ω")
        if group["omega"] is not None and not 0.0 <= group["omega"] <= group["omega_max"]:
            raise ValueError(f"omega={group['omega']} is outside [0, omega_max={group['omega_max']}]")
        if _rebuilds(group):
            low_memory.check(group)

    def new_state(self, param: Tensor, group: dict[str, Any], anchor: Tensor | None = None) -> dict[str, Any]:
        state = super().new_state(param, group, anchor)
        if group["anchor"] == "none":
            return state
        keys = ["removed", "conflicts"]
        if group["omega"] is None:
            keys += ["omega", "omega_exp_avg", "omega_exp_avg_sq", "projection"]
        if _rebuilds(group):
            low_memory.check_dtype(param)
            keys += LAST
        elif group["omega"] is None:
            # The previous step's p is projection · delta: exact, whatever happens to θ between the steps.
            state["delta"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        return state | {key: number_for(param) for key in keys}

    def take(self, bucket: Bucket) -> None:
        if not _rebuilds(bucket.group) or bucket.group["anchor"] == "none":
            super().take(bucket)
            return
        if bucket.layout is not None:
            raise RuntimeError("DiGraP: low_memory=True does not work with DTensors; leave it out")
        for part in bucket.eighths():
            with low_memory.rebuilt(part, self._fingerprints):
                super().take(part)

    @property
    def _fingerprints(self) -> dict[Tensor, Tensor]:
        """Of each parameter after its last step with low_memory; neither pickled nor in checkpoints."""
        return vars(self).setdefault("_prints", {})

    def edited(self) -> list[str]:
        """Names of the parameters under low_memory that something else has written to since their last step; ω learns
        from a wrong δ in their next one. Reads the device."""
        names = self.names()
        return [
            names[param]
            for param, value in self._fingerprints.items()
            if param in names and not torch.equal(value, low_memory.fingerprint(param))
        ]

    def state_dict(self) -> dict[str, Any]:
        """The state, as torch's. Warns of parameters that `edited` names."""
        if edited := self.edited():
            warnings.warn(
                f"DiGraP(low_memory=True): {edited[0]}{f' and {len(edited) - 1} more' if edited[1:] else ''} changed "
                "after the last step, but the previous δ is rebuilt from it, so the next step updates ω from a wrong "
                "δ. Use low_memory=False if anything else writes to the parameters.",
                stacklevel=2,
            )
        return super().state_dict()

    def plan(self, bucket: Bucket) -> Tensor:
        """Learn ω, store the numbers of this step, and return λ − ω d/n, the factor of δ in g' (λ where nothing is
        projected): shape (number of tensors,). With a learnt ω, δ of this step is then in the state."""
        learnt = bucket.group["omega"] is None
        late = learnt and bucket.step != 1
        hyper = [_hyper_sums(one) for one in bucket.singles()] if late else []
        if learnt:  # δ overwrites that of the previous step, which ω no longer needs, so it takes no memory of its own
            self.displacement(bucket, out=bucket.gather("delta"))
        sums = table([self._sums(one) for one in bucket.singles()])
        sums = bucket.total(torch.cat([sums, table(hyper)]) if late else sums)
        return self.decide(bucket, *sums[:3], hyper_gradient(bucket, sums[3:]) if late else None)

    def decide(self, bucket: Bucket, d: Tensor, n: Tensor, energy: Tensor, h: Tensor | None) -> Tensor:
        """The factor of δ in g' from <g, δ>, <δ, δ>, <g, g> and the hyper-gradient, each of shape (number of tensors,);
        h is None at t = 1 and where ω is fixed. The numbers of the step are stored."""
        group, learnt = bucket.group, bucket.group["omega"] is None
        if not learnt:
            omega = torch.full_like(d, group["omega"])
        elif h is None:
            omega = bucket.numbers("omega")
        else:
            omega = bucket.learn("omega", h, group["mu"]).clamp(0.0, group["omega_max"])
            bucket.store(omega=omega)
        projection = torch.where(n > tiny_square(n.dtype), d / n, 0.0)
        usable = torch.isfinite(d) & torch.isfinite(n) & torch.isfinite(projection)
        projection = torch.where(usable, projection, 0.0)
        conflict = (d < 0) & usable
        active = conflict if group["rule"] == "conflict" else (d >= 0) & usable
        strength = torch.where(active, omega, 0.0)
        # The share of ‖g‖² that is projected out, from ‖g'‖² = ‖g‖² − (2ω − ω²) d²/n
        taken = (2 - strength) * strength * d * projection
        removed = torch.where((energy > 0) & torch.isfinite(energy) & active, taken / energy, 0.0)
        bucket.store(removed=removed, conflicts=bucket.numbers("conflicts") + conflict)
        if learnt:
            # h of the next step contains this α, except where unit(·) cancels it
            scale = group["lr"] if group["normalize"] == "none" else 1.0
            bucket.store(projection=projection * scale)
        return group["lam"] - strength * projection

    def adjust_gradients(self, bucket: Bucket) -> list[Tensor]:
        factors = self.plan(bucket) if bucket.plan is None else bucket.plan
        delta = bucket.gather("delta") if bucket.group["omega"] is None else self.displacement(bucket)
        adjusted = scaled(delta, factors)
        torch._foreach_add_(adjusted, bucket.grads)
        return adjusted

    def _sums(self, one: Bucket) -> tuple[Tensor, ...]:
        """<g, δ>, <δ, δ> and <g, g> of a bucket of one tensor; 0-dim."""
        (delta,) = one.gather("delta") if one.group["omega"] is None else self.displacement(one)
        (grad,) = one.grads
        return inner(grad, delta), inner(delta, delta), inner(grad, grad)

    def omega_report(self) -> dict[str, dict[str, float]]:
        """ω by parameter name, for logs and plots; reads the device once. See `digrap.optim.diagnostics`."""
        return omega_report(self)


def _rebuilds(group: dict[str, Any]) -> bool:
    """Whether δ of the previous step is needed and not kept."""
    return group["low_memory"] and group["omega"] is None


def _is_whole(param: Tensor, group: dict[str, Any]) -> bool:
    """Whether unit(·) and h run over the whole tensor rather than along its dimension 1."""
    return param.ndim < 2 or group["normalize"] != "rows"


def hyper_gradient(bucket: Bucket, sums: Tensor) -> Tensor:
    """h = Σ unit(g) ⊙ unit(p_{t−1}) from the `_hyper_sums` over all ranks: shape (number of tensors,)."""
    (dot, g2, x2), c = sums, bucket.numbers("projection")
    if bucket.group["normalize"] == "none":
        return c * dot
    norms = g2.sqrt().clamp(min=TINY) * (c.abs() * x2.sqrt()).clamp(min=TINY)
    return pick([_is_whole(param, bucket.group) for param in bucket.params], c * dot / norms, dot)


def signs_product(g: Tensor, x: Tensor, c: Tensor) -> Tensor:
    """unit(g) ⊙ unit(c x) along rows of one element: ±1 exactly, so that opposite signs cancel; dot / norms would leave
    a rest of rounding errors, which Adam makes large."""
    g, x = wide(g), wide(x)
    return g / g.square().sqrt_().clamp_(min=TINY) * (c * x / (c.abs() * x.square().sqrt_()).clamp_(min=TINY))


def _hyper_sums(one: Bucket) -> tuple[Tensor, ...]:
    """What h of a bucket of one tensor is made of, before it is summed over the ranks. With x = δ_{t−1} and
    p_{t−1} = c x: <g, x>, <g, g> and <x, x> where unit(·) is taken over the whole tensor, else h three times."""
    (g,), (x,) = one.grads, one.gather("delta")
    if _is_whole(g, one.group):
        return inner(g, x), inner(g, g), inner(x, x)
    c = one.states[0]["projection"]
    if g.shape[1] == 1:
        h = signs_product(g, x, c).sum()
        return h, h, h
    norms = line_norms(g).clamp_(min=TINY) * (c.abs() * line_norms(x)).clamp_(min=TINY)
    h = (c * product(g, x).sum(dim=1) / norms).sum()
    return h, h, h
