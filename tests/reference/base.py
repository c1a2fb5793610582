"""The base updates for one parameter tensor, in float64 NumPy, from the formulas of AdamW and of SGD with momentum."""

from __future__ import annotations

import numpy as np


class AdamW:
    """m ← β1 m + (1−β1) g;  v ← β2 v + (1−β2) g²;  θ ← θ(1 − α·wd) − α/(1−β1^t) · m / (√v/√(1−β2^t) + ε)."""

    def __init__(self, theta: np.ndarray, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, **_):
        self.m, self.v, self.t = np.zeros_like(theta), np.zeros_like(theta), 0
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def step(self, theta: np.ndarray, g: np.ndarray, lr: float) -> np.ndarray:
        """The parameter after one step with gradient g."""
        self.t += 1
        beta1, beta2 = self.betas
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g**2
        decayed = theta * (1 - lr * self.weight_decay)
        denominator = np.sqrt(self.v) / np.sqrt(1 - beta2**self.t) + self.eps
        return decayed - lr / (1 - beta1**self.t) * self.m / denominator


class SGD:
    """g ← g + wd θ;  b ← momentum b + g (b = g at t = 1);  g ← g + momentum b (nesterov) or b;  θ ← θ − α g."""

    def __init__(self, theta: np.ndarray, momentum=0.0, nesterov=False, weight_decay=0.0, **_):
        self.buffer = None
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def step(self, theta: np.ndarray, g: np.ndarray, lr: float) -> np.ndarray:
        """The parameter after one step with gradient g."""
        g = g + self.weight_decay * theta
        if self.momentum:
            self.buffer = g if self.buffer is None else self.momentum * self.buffer + g
            g = g + self.momentum * self.buffer if self.nesterov else self.buffer
        return theta - lr * g


BASES = {"adamw": AdamW, "sgd": SGD}


def inner(a: np.ndarray, b: np.ndarray) -> float:
    """<a, b>: the sum of products over whole tensors."""
    return float(np.sum(a * b))
