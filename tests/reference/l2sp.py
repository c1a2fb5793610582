"""L2-SP for one parameter tensor, in float64 NumPy, from its penalty λ/2 ‖θ − θ0‖²."""

from __future__ import annotations

import numpy as np

from tests.reference.base import Rule


class L2SP(Rule):
    """g' = g + λ δ."""

    def __init__(self, theta, *, lam=0.01, **common):
        super().__init__(theta, **common)
        self.lam = lam

    def anchored_step(self, g: np.ndarray, lr: float) -> np.ndarray:
        return self.base.step(self.theta, g + self.lam * (self.theta - self.anchor), lr)
