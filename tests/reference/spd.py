"""SPD for one parameter tensor, in float64 NumPy, from the formula."""

from __future__ import annotations

import numpy as np

from tests.reference.base import Rule, inner, norm


class SPD(Rule):
    """If <g, θ − θ0> > 0, a part of the growth of the distance from the anchor is undone.

    `shrunk`: whether the last step with <g, θ − θ0> > 0 did so.
    """

    def __init__(self, theta, *, strength=0.5, **common):
        super().__init__(theta, **common)
        self.strength = strength
        self.shrunk = False

    def anchored_step(self, g: np.ndarray, lr: float) -> np.ndarray:
        before = self.theta - self.anchor
        candidate = self.base.step(self.theta, g, lr)
        after = candidate - self.anchor
        if inner(g, before) > 0 and norm(after) > 0:
            ratio = min(max((norm(after) - norm(before)) / norm(after), 0.0), 1.0)
            self.shrunk = ratio > 0
            candidate = candidate - self.strength * ratio * after
        return candidate
