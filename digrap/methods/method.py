"""A method: an optimizer, what it trains and what surrounds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer


class Probe(Protocol):
    """Held-out batches: ID validation's, or those of a part of the training split that is kept back."""

    def gradient(self, weights: Callable[[], dict[str, Tensor]], wrt: Tensor, index: int) -> Tensor:
        """d loss / d `wrt` on held-out batch number `index`, in eval mode, over all processes; `weights()` gives the
        weights that stand in place of the model's own, as functions of `wrt`."""


@dataclass
class Context:
    """What surrounds a fine-tuning, for the hooks of a method.

    `module` is the bare model as it stands; `before` its state dict as it was pre-trained; `unanchored` the names of
    parameters that were not; `anchor` is "init" or "zero" (adapters).
    """

    module: nn.Module
    before: dict[str, Tensor]
    unanchored: frozenset[str]
    anchor: str
    probe: Probe


class AfterStep(Protocol):
    """Acts on the model after each optimizer step; its state goes into checkpoints."""

    def __call__(self, step: int) -> None:
        """`step` counts optimizer steps: 1, 2, …"""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Variant:
    """One outcome of what follows the fit: the model's whole state dict. The `chosen` one is the run's result."""

    name: str
    weights: dict[str, Tensor]
    chosen: bool = True


@dataclass
class Method:
    """One row of a table, as the engine runs it; the engine knows no method by name.

    `optimizer` makes a torch optimizer from parameter groups. `trains` says which parameters train (see
    methods/trained.py); None: nothing does. `holdout` is the share of the training split that the hooks' probe takes;
    0: it takes ID validation. A method that goes on from another one's weights says so in its config (`start`).
    """

    name: str
    optimizer: Callable[[list[dict[str, Any]]], Optimizer] | None
    trains: str | None
    holdout: float = 0.0
    after_step: Callable[[Context], AfterStep] | None = None
    after_fit: Callable[[Context], Iterator[Variant]] | None = None
