"""SPD for one parameter tensor, in float64 NumPy, from the formula."""

from __future__ import annotations

import math

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
        start, end = norm(before), norm(after)
        finite = all(math.isfinite(number) for number in (inner(g, before), start, end))
        if finite and inner(g, before) > 0 and end > 0:
            ratio = min(max((end - start) / end, 0.0), 1.0)
            self.shrunk = ratio > 0
            candidate = candidate - self.strength * ratio * after
        return candidate
