"""A method: an optimizer, what it trains and what surrounds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer


@dataclass
class Method:
    """One row of a table, as the engine runs it; the engine knows no method by name.

    `optimizer` makes a torch optimizer from parameter groups. `phases` says what trains, one entry a phase; no phase
    means no training.
    """

    name: str
    optimizer: Callable[[list[dict[str, Any]]], Optimizer] | None
    phases: tuple[str, ...]


def choose_trained(module: nn.Module, phase: str) -> None:
    """Set requires_grad for a phase. Raises ValueError for a phase nobody knows."""
    if phase != "all":
        raise ValueError(f"phase {phase!r} is not one of: all")
    module.requires_grad_(True)
