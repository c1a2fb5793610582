"""Learning rates over training: each gives the factor of the base learning rate for a step (0, 1, …)."""

from __future__ import annotations

import math
from collections.abc import Callable

Factor = Callable[[int], float]


def constant(*, base_lr: float, steps_per_epoch: int, epochs: int) -> Factor:
    """The base learning rate throughout."""
    return lambda step: 1.0


def cosine(*, base_lr: float, steps_per_epoch: int, epochs: int, min_lr: float = 0.0) -> Factor:
    """Cosine to `min_lr`, stepped once an epoch with T_max = epochs, as torch's CosineAnnealingLR."""
    floor = min_lr / base_lr if base_lr else 0.0

    def factor(step: int) -> float:
        done = min(step // steps_per_epoch, epochs) / epochs
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return factor


def linear_warmup_cosine(
    *, base_lr: float, steps_per_epoch: int, epochs: int, warmup_steps: int, warmup_lr: float, min_lr: float
) -> Factor:
    """Linear from `warmup_lr` over `warmup_steps` steps, then cosine to `min_lr` at the last step."""
    start, floor = (lr / base_lr if base_lr else 0.0 for lr in (warmup_lr, min_lr))
    total = steps_per_epoch * epochs

    def factor(step: int) -> float:
        if step < warmup_steps:
            return start + (1 - start) * step / warmup_steps
        done = min((step - warmup_steps) / max(total - warmup_steps, 1), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return factor


def lavis(
    *,
    base_lr: float,
    steps_per_epoch: int,
    epochs: int,
    warmup_steps: int,
    warmup_lr: float,
    min_lr: float,
    accumulation: int = 2,
) -> Factor:
    """As LAVIS's linear_warmup_cosine_lr: linear from `warmup_lr` over `warmup_steps` iterations within the first epoch
    alone, whether it is that long or not; from the second on cosine to `min_lr`, stepped once an epoch.

    An iteration is one of the `accumulation` micro-batches of a step; a step has the rate of its last.
    """
    start, floor = (lr / base_lr if base_lr else 0.0 for lr in (warmup_lr, min_lr))

    def factor(step: int) -> float:
        epoch = min(step // steps_per_epoch, epochs)
        if epoch == 0:
            iteration = (step + 1) * accumulation - 1
            return min(1.0, start + (1 - start) * iteration / max(warmup_steps, 1))
        return floor + (1 - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    return factor
