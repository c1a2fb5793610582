"""TPGM, Trainable Projected Gradient Method (Tian et al. 2023, arXiv 2303.10720): learnt bounds on ‖θ − θ0‖.

Per tensor, with δ = θ − θ0 and s the norms of δ ("mars": ℓ1 by rows over dimensions ≥ 1, a vector is one row; "l2":
the norm of the whole tensor), the constraint γ is min(s)/2 at the first projection. Each projection:

    max_iters times, where the constraints are trained:
        γ ← clamp(γ, 1e-8, max s);   θ̃ = θ0 + clamp(γ / (s + 1e-8), 0, 1) · δ
        γ ← γ − Adam(∂ loss(θ̃) / ∂γ)       on a held-out batch, in eval mode
    γ ← clamp(γ, 1e-8, max s);   θ ← θ̃
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from digrap.core.progress import track
from digrap.methods.method import Context, Variant
from digrap.optim.tensors import inner, row_sums, scalar_dtype
from digrap.optim.validate import at_least_zero, one_of

TINY = 1e-8


@dataclass(frozen=True, kw_only=True)
class TPGM:
    """A `Projection` after every optimizer step.

    Args:
        norm: "mars" or "l2".
        proj_freq: optimizer steps between trainings of the constraints; at the other steps they are only applied.
        proj_lr: Adam's learning rate for the constraints.
        max_iters: held-out batches per training of the constraints.

    Raises:
        ValueError: an option out of range; when called, a model in which no trained parameter has an anchor.
    """

    norm: str
    proj_freq: int
    proj_lr: float
    max_iters: int

    def __post_init__(self):
        one_of("norm", self.norm, ("mars", "l2"))
        at_least_zero(proj_lr=self.proj_lr)
        for name in ("proj_freq", "max_iters"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value}: give a whole number ≥ 1")

    def __call__(self, context: Context) -> Projection:
        return Projection(context, self)


@dataclass(frozen=True, kw_only=True)
class TPGMOnce(TPGM):
    """One projection after the fit, with constraints trained for `max_iters` batches (the authors' recipe for ViT)."""

    proj_freq: int = 1  # the projection counts as step 1

    def __call__(self, context: Context) -> Iterator[Variant]:
        projection = Projection(context, self)
        projection(1)
        if not projection.gamma.isfinite().all():
            raise ValueError(
                "the loss on a held-out batch is not finite: the run that this one is initialised from has unusable "
                "weights; delete that run and train it again"
            )
        names = {*context.before, *projection.params}
        weights = {name: value for name, value in context.module.state_dict().items() if name in names}
        yield Variant("projected", weights)


class Projection:
    """Constraints on the trained, anchored parameters of a model, and the projection onto them.

    A parameter without a pre-trained value in `context.before` has not moved from its anchor and is left out; under
    anchor "zero" every trained parameter counts.
    """

    def __init__(self, context: Context, options: TPGM):
        self.options, self.held_out = options, context.held_out
        self.params = {
            name: param
            for name, param in context.module.named_parameters()
            if param.requires_grad
            and name not in context.unanchored
            and (context.anchor == "zero" or name in context.before)
        }
        if not self.params:
            raise ValueError("no trained parameter has an anchor")
        self.anchors = {
            name: torch.zeros_like(param) if context.anchor == "zero" else context.before[name].to(param.device)
            for name, param in self.params.items()
        }
        first = next(iter(self.params.values()))
        self.gamma = torch.zeros(len(self.params), dtype=scalar_dtype(first), device=first.device, requires_grad=True)
        self.adam = torch.optim.Adam([self.gamma], lr=options.proj_lr)
        self.started, self.batches = False, 0

    def __call__(self, step: int) -> None:
        """Project after optimizer step number `step` (1, 2, …)."""
        deltas = {name: param.detach() - self.anchors[name] for name, param in self.params.items()}
        norms = [self._norms(delta) for delta in deltas.values()]
        if not self.started:
            self._set(torch.stack([s.min() for s in norms]) / 2)
            self.started = True
        if step % self.options.proj_freq == 0:
            self._train(deltas, norms)
        self._clamp(norms)
        with torch.no_grad():
            for name, value in self.projected(deltas, norms).items():
                self.params[name].copy_(value)

    def projected(self, deltas: dict[str, Tensor], norms: list[Tensor]) -> dict[str, Tensor]:
        """θ̃ by name, differentiable with respect to γ."""
        result = {}
        for (name, delta), s, gamma in zip(deltas.items(), norms, self.gamma.unbind(), strict=True):
            ratio = gamma / (s + TINY)
            # No clamp: at its bound a row must keep its gradient, and in float32 s + 1e-8 often equals s.
            ratio = torch.where(ratio > 1.0, 1.0, ratio).to(delta.dtype)
            result[name] = self.anchors[name] + ratio * delta
        return result

    def _norms(self, delta: Tensor) -> Tensor:
        """s of one tensor: (rows, 1, …) for "mars", 0-dim for "l2"."""
        delta = delta.to(scalar_dtype(delta))
        return row_sums(delta.abs()) if self.options.norm == "mars" else inner(delta, delta).sqrt()

    def _train(self, deltas: dict[str, Tensor], norms: list[Tensor]) -> None:
        """Take `max_iters` Adam steps on γ."""
        rounds = range(self.options.max_iters)
        # A long training after the fit takes minutes and shows its progress; one after every step does not.
        for _ in track(rounds, "constraints", unit="steps") if self.options.max_iters >= 50 else rounds:
            self._clamp(norms)
            self.gamma.grad = self.held_out.gradient(lambda: self.projected(deltas, norms), self.gamma, self.batches)
            self.adam.step()
            self.batches += 1

    def _clamp(self, norms: list[Tensor]) -> None:
        """γ ← clamp(γ, 1e-8, max s)."""
        self._set(torch.minimum(self.gamma.detach().clamp(min=TINY), torch.stack([s.max() for s in norms])))

    @torch.no_grad()
    def _set(self, value: Tensor) -> None:
        self.gamma.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The constraints, the state of Adam, and the number of held-out batches used."""
        return {
            "gamma": self.gamma.detach().clone(), "adam": self.adam.state_dict(), "started": self.started,
            "batches": self.batches,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict()`."""
        self._set(state["gamma"].to(self.gamma.device))
        self.adam.load_state_dict(state["adam"])
        self.started, self.batches = state["started"], state["batches"]
