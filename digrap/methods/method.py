"""The interface of a method: an optimizer, what it trains, and hooks after a step and after the fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer


class HeldOut(Protocol):
    """Held-out batches: those of ID validation, or of the share of the training split that is held out."""

    def gradient(self, weights: Callable[[], dict[str, Tensor]], wrt: Tensor, index: int) -> Tensor:
        """The gradient of the loss on held-out batch number `index` with respect to `wrt`, in eval mode, over all
        processes; same shape as `wrt`. `weights()` returns, as functions of `wrt`, the weights that replace the
        model's own."""


@dataclass
class Context:
    """The model and data that the hooks of a method see.

    `module` is the bare model with its present weights. `before` holds pre-trained values by their names in the state
    dict: those of the parameters that train, of what the run's initial weights changed, and of the buffers. A parameter
    that is not in it still has its pre-trained value, and keeps it. `unanchored` holds the names of parameters that
    were not pre-trained; `anchor` is "init" or "zero" (adapters).
    """

    module: nn.Module
    before: dict[str, Tensor]
    unanchored: frozenset[str]
    anchor: str
    held_out: HeldOut


class AfterStep(Protocol):
    """A hook that changes the model after each optimizer step; its state goes into checkpoints."""

    def __call__(self, step: int) -> None:
        """Act after optimizer step number `step` (1, 2, …)."""

    def state_dict(self) -> dict[str, Any]:
        """All that the hook needs to resume, for the checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict()`."""


@dataclass
class Variant:
    """One outcome of `after_fit`. The `chosen` one is the run's result.

    `weights` are the values to load into the model, by their names in the state dict; all of these names are in
    `Context.before`, and everything else in the model stays as it is.
    """

    name: str
    weights: dict[str, Tensor]
    chosen: bool = True


@dataclass
class Method:
    """One row of a table, as the engine runs it; the engine knows no method by name.

    `optimizer` makes a torch optimizer from parameter groups. `trains` names the parameters that train (a key of
    `digrap.methods.trained.CHOICES`; None: none do). `holdout` is the share of the training split held out for the
    hooks (0: they take ID validation). `after_step` makes the hook called after each optimizer step;
    `after_fit` yields the outcomes that replace the fitted model. The hooks see pre-trained values only of what can
    differ from them (`Context.before`) and set nothing else. A method initialised from another method's run names that
    one in its config (`optim.start`).
    """

    name: str
    optimizer: Callable[[list[dict[str, Any]]], Optimizer] | None
    trains: str | None
    holdout: float = 0.0
    after_step: Callable[[Context], AfterStep] | None = None
    after_fit: Callable[[Context], Iterator[Variant]] | None = None
