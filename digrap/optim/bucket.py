"""A bucket: the parameters of one group that take a step together, with their gradients and states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from digrap.optim.shards import Layout, local

PARTS = 8  # a part has at most this share of a bucket's elements: up to four temporaries per part are half a bucket


@dataclass
class Bucket:
    """Parameters of one group that share device, dtype, step count and implementation, with gradients and states.

    Of DTensors, `params`, `grads` and what `gather` returns are this rank's rows.
    """

    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Any]]
    group: dict[str, Any]
    step: int  # number of the step being taken: 1, 2, …; 0 with capturable=True, where only the device knows it
    path: str = "foreach"  # one of digrap.optim.paths.PATHS
    layout: Layout | None = None  # of DTensors
    plan: Tensor | None = None  # one number per tensor, from the rule's `plan`
    # What an implementation keeps for the next step, for as long as all tensors but gradients stay where they are.
    memory: dict[str, Any] | None = None

    @property
    def fused(self) -> bool:
        """Whether the base update is torch's fused kernel."""
        return self.path in ("native", "blocked", "triton")

    # --- parts --------------------------------------------------------------------------------------------------

    def parts(self) -> Iterator[Bucket]:
        """The bucket in parts, so that temporaries of a part are small beside the bucket; with foreach=False and in
        `singles` one tensor each. No result depends on the cut."""
        if self.fused or torch.compiler.is_compiling():
            return iter([self])
        if self.group["foreach"] is False:
            return self.singles()
        return self.eighths()

    def eighths(self) -> Iterator[Bucket]:
        """The bucket in parts of at most an eighth of its elements, or one tensor."""
        return self._cut(sum(param.numel() for param in self.params) // PARTS)

    def singles(self) -> Iterator[Bucket]:
        """A bucket for each tensor."""
        return (self._between(index, index + 1) for index in range(len(self.params)))

    def _cut(self, size: int) -> Iterator[Bucket]:
        """Consecutive tensors of at most `size` elements together, or one tensor."""
        first = count = 0
        for index, param in enumerate(self.params):
            if index > first and count + param.numel() > size:
                yield self._between(first, index)
                first, count = index, 0
            count += param.numel()
        yield self._between(first, len(self.params))

    def _between(self, first: int, end: int) -> Bucket:
        """The bucket of the tensors first … end − 1."""
        lists = (values[first:end] for values in (self.params, self.grads, self.states))
        plan = None if self.plan is None else self.plan[first:end]
        return Bucket(*lists, self.group, self.step, self.path, self.layout, plan)

    def pick(self, members: list[int]) -> Bucket:
        """The bucket of some of the tensors, without a plan."""
        lists = ([values[index] for index in members] for values in (self.params, self.grads, self.states))
        return Bucket(*lists, self.group, self.step, self.path, self.layout)

    # --- over all ranks -----------------------------------------------------------------------------------------

    def by_rank(self, numbers: Tensor) -> Tensor:
        """Numbers of each rank that holds rows of the tensors: shape (ranks, *shape); one rank without DTensors."""
        return numbers.unsqueeze(0) if self.layout is None else self.layout.by_rank(numbers)

    def total(self, numbers: Tensor) -> Tensor:
        """Numbers that are sums over the rows of this rank, summed over all ranks."""
        return numbers if self.layout is None else self.layout.by_rank(numbers).sum(dim=0)

    # --- state --------------------------------------------------------------------------------------------------

    def gather(self, key: str) -> list[Tensor]:
        """The state tensors called `key`, one per parameter."""
        if self.layout is None:
            return [state[key] for state in self.states]
        return [local(state[key]) for state in self.states]

    def count(self) -> None:
        """Add 1 to the parameters' `step`."""
        steps = self.gather("step")
        if steps[0].is_cpu and not torch.compiler.is_compiling():
            torch._foreach_add_(steps, torch.ones(()), alpha=1.0)  # a number would become a tensor for each of them
        else:
            torch._foreach_add_(steps, 1.0)

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
        corrections is the parameter's step t ≥ 2. `key` itself is not written. Where h or h² is not finite, and at
        t = 1, the number and its moments stay as they are.
        """
        value, m, v = self.numbers(key), self.numbers(f"{key}_exp_avg"), self.numbers(f"{key}_exp_avg_sq")
        usable = torch.isfinite(h * h)
        if self.step:
            t: Any = self.step
        else:
            t = self.numbers("step").to(m.device).double() + 1  # in float32, 1 − 0.999^t has four digits
            usable = usable & (t > 1)
        m = torch.where(usable, 0.9 * m + 0.1 * h, m)
        v = torch.where(usable, 0.999 * v + 0.001 * h * h, v)
        self.store(**{f"{key}_exp_avg": m, f"{key}_exp_avg_sq": v})
        first, second = ((1 - beta**t) for beta in (0.9, 0.999))
        if not self.step:
            first, second = first.to(m.dtype), second.to(m.dtype)
        return torch.where(usable, value - mu * (m / first) / ((v / second).sqrt() + 1e-8), value)
