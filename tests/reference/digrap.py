"""DiGraP for one parameter tensor, in float64 NumPy, from the formulas (arXiv 2502.15895, Algorithm 1)."""

from __future__ import annotations

import math

import numpy as np

from tests.reference.base import BASES, inner


def unit(x: np.ndarray, normalize: str) -> np.ndarray:
    """x over its norm, never less than 1e-12: along dimension 1 (dimension 0 of a vector), or over the whole tensor."""
    if normalize == "tensor" or x.ndim == 0:
        return x / max(math.sqrt(inner(x, x)), 1e-12)
    axis = 1 if x.ndim > 1 else 0
    return np.apply_along_axis(lambda line: line / max(math.sqrt(inner(line, line)), 1e-12), axis, x)


class DiGraP:
    """One parameter tensor under DiGraP; `theta` after each step, `omega` and `conflict` as the step used them."""

    def __init__(self, theta, *, base="adamw", anchor="init", mu=0.1, lam=0.0, rule="conflict", normalize="rows",
                 omega=None, omega_max=1.0, **base_options):  # fmt: skip
        self.theta = np.array(np.asarray(theta), dtype=np.float64)
        self.anchored = not (isinstance(anchor, str) and anchor == "none")
        if isinstance(anchor, str):
            self.anchor = np.zeros_like(self.theta) if anchor == "zero" else self.theta.copy()
        else:
            self.anchor = np.array(np.asarray(anchor), dtype=np.float64)
        self.base = BASES[base](self.theta, **base_options)
        self.mu, self.lam, self.rule, self.normalize = mu, lam, rule, normalize
        self.fixed, self.omega_max = omega, omega_max
        self.t, self.omega, self.m, self.v = 0, 0.0, 0.0, 0.0
        self.p, self.alpha = None, None  # p and the learning rate of the step before
        self.conflict = False

    def step(self, g, lr: float) -> np.ndarray:
        """The parameter after one step with gradient g and learning rate lr."""
        g = np.array(g, dtype=np.float64)
        if not self.anchored:
            self.theta = self.base.step(self.theta, g, lr)
            return self.theta
        self.t += 1
        delta = self.theta - self.anchor
        d, n = inner(g, delta), inner(delta, delta)
        p = d / n * delta if n > 0 else np.zeros_like(delta)
        self._set_omega(g)
        self.conflict = d < 0
        if self.conflict if self.rule == "conflict" else d >= 0:
            g = g - self.omega * p
        self.theta = self.base.step(self.theta, g + self.lam * delta, lr)
        self.p, self.alpha = p, lr
        return self.theta

    def _set_omega(self, g: np.ndarray) -> None:
        if self.fixed is not None:
            self.omega = self.fixed
            return
        if self.t == 1:
            return
        if self.normalize == "none":
            h = self.alpha * inner(g, self.p)
        else:
            h = inner(unit(g, self.normalize), unit(self.p, self.normalize))
        self.m = 0.9 * self.m + 0.1 * h
        self.v = 0.999 * self.v + 0.001 * h**2
        update = (self.m / (1 - 0.9**self.t)) / (math.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)
        self.omega = min(max(self.omega - self.mu * update, 0.0), self.omega_max)
