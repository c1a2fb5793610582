"""The base updates for one parameter tensor, in float64 NumPy, from the formulas of AdamW and of SGD with momentum."""

from __future__ import annotations

import math

import numpy as np


class AdamW:
    """m ← β1 m + (1−β1) g;  v ← β2 v + (1−β2) g²;  θ ← θ(1 − α·wd) − α/(1−β1^t) · m / (√v/√(1−β2^t) + ε).

    `momentum` and `nesterov` are accepted and not used.
    """

    def __init__(self, theta: np.ndarray, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum=0.0, nesterov=False):
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
    """g ← g + wd θ;  b ← momentum b + g (b = g at t = 1);  g ← g + momentum b (nesterov) or b;  θ ← θ − α g.

    `betas` and `eps` are accepted and not used.
    """

    def __init__(self, theta: np.ndarray, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum=0.0, nesterov=False):
        self.buffer = None
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def step(self, theta: np.ndarray, g: np.ndarray, lr: float) -> np.ndarray:
        """The parameter after one step with gradient g."""
        g = g + self.weight_decay * theta if self.weight_decay else g
        if self.momentum:
            self.buffer = g if self.buffer is None else self.momentum * self.buffer + g
            g = g + self.momentum * self.buffer if self.nesterov else self.buffer
        return theta - lr * g


BASES = {"adamw": AdamW, "sgd": SGD}


def inner(a: np.ndarray, b: np.ndarray) -> float:
    """<a, b>: the sum of products over whole tensors."""
    return float(np.sum(a * b))


class Rule:
    """One parameter tensor under a rule; `theta` is its value after each step. A subclass defines `anchored_step`."""

    def __init__(self, theta, *, base="adamw", anchor="init", **base_options):
        self.theta = np.array(np.asarray(theta), dtype=np.float64)
        self.anchored = not (isinstance(anchor, str) and anchor == "none")
        if isinstance(anchor, str):
            self.anchor = np.zeros_like(self.theta) if anchor == "zero" else self.theta.copy()
        else:
            self.anchor = np.array(np.asarray(anchor), dtype=np.float64)
        self.base = BASES[base](self.theta, **base_options)
        self.t = 0

    def step(self, g, lr: float) -> np.ndarray:
        """The parameter after one step with gradient g and learning rate lr."""
        g = np.array(g, dtype=np.float64)
        self.t += 1
        self.theta = self.anchored_step(g, lr) if self.anchored else self.base.step(self.theta, g, lr)
        return self.theta

    def anchored_step(self, g: np.ndarray, lr: float) -> np.ndarray:
        """The new θ; without a rule, that of the base."""
        return self.base.step(self.theta, g, lr)


class ScalarAdam:
    """x ← x − µ · (m/(1−.9^t)) / (√(v/(1−.999^t)) + 1e-8), its moments first updated at t = 2."""

    def __init__(self, mu: float):
        self.mu, self.m, self.v = mu, 0.0, 0.0

    def step(self, x: float, h: float, t: int) -> float:
        """x after the parameter's step t with hyper-gradient h; x and the moments stay where h² is not finite."""
        if not math.isfinite(h * h):
            return x
        self.m = 0.9 * self.m + 0.1 * h
        self.v = 0.999 * self.v + 0.001 * h**2
        return x - self.mu * (self.m / (1 - 0.9**t)) / (math.sqrt(self.v / (1 - 0.999**t)) + 1e-8)


def norm(a: np.ndarray) -> float:
    """‖a‖₂ over the whole tensor."""
    return math.sqrt(inner(a, a))


def rows(a: np.ndarray) -> np.ndarray:
    """Rows along the first dimension, flattened: shape (out, rest); a vector or a scalar is one row."""
    return a.reshape(a.shape[0], -1) if a.ndim > 1 else a.reshape(1, -1)
