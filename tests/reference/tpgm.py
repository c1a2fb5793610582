"""TPGM's constraints and projection, in float64 NumPy, from the formulas."""

from __future__ import annotations

import numpy as np

from tests.reference.base import norm, rows


class TPGM:
    """Constraints γ on the tensors of `anchors`; `slope(θ̃, k)` is the gradient of the loss on held-out batch k."""

    def __init__(self, anchors: dict, slope, *, norm="mars", proj_freq=1, proj_lr=0.01, max_iters=1):
        self.anchors, self.slope, self.norm = anchors, slope, norm
        self.proj_freq, self.lr, self.max_iters = proj_freq, proj_lr, max_iters
        self.gamma, self.batches, self.t = {}, 0, 0
        self.m, self.v = dict.fromkeys(anchors, 0.0), dict.fromkeys(anchors, 0.0)

    def norms(self, delta: np.ndarray) -> list[float]:
        """The norm of each row, or that of the whole tensor alone."""
        if self.norm == "l2":
            return [norm(delta)]
        return [float(np.sum(np.abs(row))) for row in rows(delta)]

    def project(self, theta: dict, step: int) -> dict:
        """The projected parameters after optimizer step number `step`."""
        delta = {name: theta[name] - self.anchors[name] for name in theta}
        s = {name: self.norms(delta[name]) for name in theta}
        if not self.gamma:
            self.gamma = {name: min(s[name]) / 2 for name in theta}
        if step % self.proj_freq == 0:
            for _ in range(self.max_iters):
                self._clamp(s)
                slopes = self.slope(self.at(delta, s), self.batches)
                self.batches += 1
                self.t += 1
                for name in theta:
                    self._adam(name, self._gradient(name, slopes[name], delta[name], s[name]))
        self._clamp(s)
        return self.at(delta, s)

    def at(self, delta: dict, s: dict) -> dict:
        """θ̃ = θ0 + clamp(γ/(s + 1e-8), 0, 1) δ."""
        return {name: self.anchors[name] + self._shrunk(name, delta[name], s[name]) for name in delta}

    def _parts(self, delta, s):
        return [delta.reshape(-1)] if self.norm == "l2" else list(rows(delta))

    def _shrunk(self, name, delta, s):
        kept = [
            min(max(self.gamma[name] / (s_i + 1e-8), 0.0), 1.0) * part
            for part, s_i in zip(self._parts(delta, s), s, strict=True)
        ]
        return np.concatenate([part.reshape(-1) for part in kept]).reshape(delta.shape)

    def _gradient(self, name, slope, delta, s):
        """dL/dγ: each row bounded by γ contributes <∂L/∂θ̃, δ> / (s + 1e-8)."""
        total = 0.0
        for g, part, s_i in zip(self._parts(slope, s), self._parts(delta, s), s, strict=True):
            if self.gamma[name] / (s_i + 1e-8) <= 1.0:
                total += float(np.sum(g * part)) / (s_i + 1e-8)
        return total

    def _clamp(self, s):
        self.gamma = {name: min(max(self.gamma[name], 1e-8), max(s[name])) for name in self.gamma}

    def _adam(self, name, g):
        self.m[name] = 0.9 * self.m[name] + 0.1 * g
        self.v[name] = 0.999 * self.v[name] + 0.001 * g**2
        m, v = self.m[name] / (1 - 0.9**self.t), self.v[name] / (1 - 0.999**self.t)
        self.gamma[name] -= self.lr * m / (np.sqrt(v) + 1e-8)
