"""DiGraP for one parameter tensor, in float64 NumPy, from the formulas (arXiv 2502.15895, Algorithm 1)."""

from __future__ import annotations

import math

import numpy as np

from tests.reference.base import Rule, ScalarAdam, inner


def unit(x: np.ndarray, normalize: str) -> np.ndarray:
    """x over its norm, at least 1e-12: along dimension 1 (dimension 0 of a vector), or over the whole tensor."""
    if normalize == "tensor" or x.ndim == 0:
        return x / max(math.sqrt(inner(x, x)), 1e-12)
    axis = 1 if x.ndim > 1 else 0
    return np.apply_along_axis(lambda line: line / max(math.sqrt(inner(line, line)), 1e-12), axis, x)


class DiGraP(Rule):
    """`omega` and `conflict` are those of the last step."""

    def __init__(
        self, theta, *, mu=0.1, lam=0.0, rule="conflict", normalize="rows", omega=None, omega_max=1.0, **common
    ):
        super().__init__(theta, **common)
        self.lam, self.rule, self.normalize = lam, rule, normalize
        self.fixed, self.omega, self.omega_max, self.adam = omega, 0.0, omega_max, ScalarAdam(mu)
        self.p, self.alpha = None, None  # p and the learning rate of the previous step
        self.conflict = False

    def anchored_step(self, g: np.ndarray, lr: float) -> np.ndarray:
        delta = self.theta - self.anchor
        d, n = inner(g, delta), inner(delta, delta)
        p = d / n * delta if n > 0 else np.zeros_like(delta)
        self._set_omega(g)
        self.conflict = d < 0
        if self.conflict if self.rule == "conflict" else d >= 0:
            g = g - self.omega * p
        self.p, self.alpha = p, lr
        return self.base.step(self.theta, g + self.lam * delta, lr)

    def _set_omega(self, g: np.ndarray) -> None:
        if self.fixed is not None:
            self.omega = self.fixed
        elif self.t > 1:
            if self.normalize == "none":
                h = self.alpha * inner(g, self.p)
            else:
                h = inner(unit(g, self.normalize), unit(self.p, self.normalize))
            self.omega = min(max(self.adam.step(self.omega, h, self.t), 0.0), self.omega_max)
