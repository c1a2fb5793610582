"""DiGraP for one parameter tensor, in float64 NumPy, from the formulas (arXiv 2502.15895, Algorithm 1)."""

from __future__ import annotations

import math

import numpy as np

from tests.reference.base import Rule, ScalarAdam, inner

TINY_SQUARE = np.finfo(np.float64).tiny / np.finfo(np.float64).eps  # below it squares are denormal


def unit(x: np.ndarray, normalize: str, c: float = 1.0) -> np.ndarray:
    """c x over its norm |c| ‖x‖, at least 1e-12: along dimension 1 (dimension 0 of a vector), or over the whole
    tensor."""

    def over_norm(line):
        return c * line / max(abs(c) * math.sqrt(inner(line, line)), 1e-12)

    if normalize == "tensor" or x.ndim == 0:
        return over_norm(x)
    return np.apply_along_axis(over_norm, 1 if x.ndim > 1 else 0, x)


class DiGraP(Rule):
    """`omega` and `conflict` are those of the last step."""

    def __init__(
        self, theta, *, mu=0.1, lam=0.0, rule="conflict", normalize="rows", omega=None, omega_max=1.0, **common
    ):
        super().__init__(theta, **common)
        self.lam, self.rule, self.normalize = lam, rule, normalize
        self.fixed, self.omega, self.omega_max, self.adam = omega, 0.0, omega_max, ScalarAdam(mu)
        self.c, self.delta, self.alpha = None, None, None  # p = c δ and the learning rate of the previous step
        self.conflict = False

    def anchored_step(self, g: np.ndarray, lr: float) -> np.ndarray:
        delta = self.theta - self.anchor
        d, n = inner(g, delta), inner(delta, delta)
        c = d / n if n > TINY_SQUARE else 0.0
        usable = all(math.isfinite(number) for number in (d, n, c))
        c = c if usable else 0.0
        self._set_omega(g)
        self.conflict = usable and d < 0
        if self.conflict if self.rule == "conflict" else usable and d >= 0:
            g = g - self.omega * c * delta
        self.c, self.delta, self.alpha = c, delta, lr
        return self.base.step(self.theta, g + self.lam * delta, lr)

    def _set_omega(self, g: np.ndarray) -> None:
        if self.fixed is not None:
            self.omega = self.fixed
        elif self.t > 1:
            if self.normalize == "none":
                h = self.alpha * self.c * inner(g, self.delta)
            else:
                h = inner(unit(g, self.normalize), unit(self.delta, self.normalize, self.c))
            self.omega = min(max(self.adam.step(self.omega, h, self.t), 0.0), self.omega_max)
