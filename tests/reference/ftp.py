"""FTP for one parameter tensor, in float64 NumPy, from the formula."""

from __future__ import annotations

import math

import numpy as np

from tests.reference.base import Rule, ScalarAdam, rows


class FTP(Rule):
    """`gamma` is the bound of the last step."""

    def __init__(self, theta, *, k=1.0, mu=1e-2, **common):
        super().__init__(theta, **common)
        self.k, self.gamma, self.adam = k, 1e-8, ScalarAdam(mu)
        self.c, self.s = None, None  # of the previous step: rows of the candidate's displacement and their norms

    def anchored_step(self, g: np.ndarray, lr: float) -> np.ndarray:
        if self.t > 1:
            h = sum(float(np.sum(g_i * c_i)) / s_i for g_i, c_i, s_i in zip(rows(g), self.c, self.s, strict=True))
            self.gamma = self.adam.step(self.gamma, self.k * h if h > 0 else h, self.t)
        self.c = rows(self.base.step(self.theta, g, lr) - self.anchor)
        self.s = [float(np.sum(np.abs(c_i))) + 1e-8 for c_i in self.c]
        self.gamma = min(max(self.gamma, 1e-8), max([s_i for s_i in self.s if math.isfinite(s_i)], default=math.inf))
        ratios = [min(max(self.gamma / s_i, 0.0), 1.0) if math.isfinite(s_i) else 1.0 for s_i in self.s]
        kept = [ratio * c_i for ratio, c_i in zip(ratios, self.c, strict=True)]
        return self.anchor + np.stack(kept).reshape(g.shape)
