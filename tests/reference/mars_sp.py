"""MARS-SP for one parameter tensor, in float64 NumPy, from its penalty λ max_i ‖row i of θ − θ0‖₁."""

from __future__ import annotations

import numpy as np

from tests.reference.base import Rule, rows


class MARSSP(Rule):
    """g' = g + λ sign(δ) on the row of δ with the largest ℓ1 norm, the first if several are equal."""

    def __init__(self, theta, *, lam=0.01, **common):
        super().__init__(theta, **common)
        self.lam = lam

    def anchored_step(self, g: np.ndarray, lr: float) -> np.ndarray:
        delta = rows(self.theta - self.anchor)
        largest, most = 0, -1.0
        for i, row in enumerate(delta):
            if np.sum(np.abs(row)) > most:
                largest, most = i, np.sum(np.abs(row))
        slope = np.zeros_like(delta)
        slope[largest] = np.sign(delta[largest])
        return self.base.step(self.theta, g + self.lam * slope.reshape(g.shape), lr)
