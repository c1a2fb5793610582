"""A bucket: the parameters of one group that take a step together, with their gradients and states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Bucket:
    """Parameters of one group that share device, dtype, step count and implementation, with gradients and states."""

    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Any]]
    group: dict[str, Any]
    step: int  # number of the step being taken: 1, 2, …
    path: str = "foreach"  # one of digrap.optim.paths.PATHS

    @property
    def fused(self) -> bool:
        """Whether the base update is torch's fused kernel."""
        return self.path in ("native", "blocked", "triton")

    def gather(self, key: str) -> list[Tensor]:
        """The state tensors called `key`, one per parameter."""
        return [state[key] for state in self.states]

    def numbers(self, key: str) -> Tensor:
        """The per-tensor numbers called `key`, stacked: shape (number of tensors,)."""
        return torch.stack(self.gather(key))

    def store(self, **numbers: Tensor) -> None:
        """Write one number per tensor into the parameters' states."""
        for key, values in numbers.items():
            torch._foreach_copy_(self.gather(key), list(values.unbind()))

    def learn(self, key: str, h: Tensor, mu: float) -> Tensor:
        """The per-tensor numbers called `key` after one Adam step (β = 0.9, 0.999) of learning rate `mu` on the
        gradients `h`; shape (number of tensors,).

        The moments are kept in the state as `<key>_exp_avg` and `<key>_exp_avg_sq`; the exponent of the bias
        corrections is the parameter's step t ≥ 2. `key` itself is not written.
        """
        m = 0.9 * self.numbers(f"{key}_exp_avg") + 0.1 * h
        v = 0.999 * self.numbers(f"{key}_exp_avg_sq") + 0.001 * h * h
        self.store(**{f"{key}_exp_avg": m, f"{key}_exp_avg_sq": v})
        return self.numbers(key) - mu * (m / (1 - 0.9**self.step)) / ((v / (1 - 0.999**self.step)).sqrt() + 1e-8)
