"""The contract between a kind of problem and everything else: batches, loss, answers and their scores."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from digrap import tasks
from digrap.core.errors import DigrapError, nearest
from digrap.models.backbone import Backbone

Answers = dict[str, np.ndarray]
"""Answers of N examples by name, arrays (N, …), strings as dtype object; "prediction" (N,) is always there."""

Stored = dict[str, np.ndarray | list[str]]
"""The part of a split that a prediction bundle keeps, by name: arrays (n,), or n strings."""


@dataclass(frozen=True)
class Batch:
    """N collated examples. `inputs` are tensors with the examples first; `truth` (N,) is what answers are scored
    against, an array that stays on the host."""

    inputs: dict[str, Tensor]
    truth: np.ndarray

    @property
    def size(self) -> int:
        """N."""
        return len(self.truth)

    def to(self, device: Any) -> Batch:
        """The batch with its inputs on a device; from pinned memory the copy does not block."""
        return replace(self, inputs={name: value.to(device, non_blocking=True) for name, value in self.inputs.items()})

    def pin_memory(self) -> Batch:
        """The batch with its inputs in page-locked memory; torch's DataLoader calls this."""
        return replace(self, inputs={name: value.pin_memory() for name, value in self.inputs.items()})

    def split(self, size: int) -> list[Batch]:
        """Micro-batches of `size` examples in order; the last may be smaller."""
        places = range(0, self.size, size)
        parts = [{name: value[k : k + size] for name, value in self.inputs.items()} for k in places]
        return [Batch(part, self.truth[k : k + size]) for k, part in zip(places, parts, strict=True)]


@dataclass(frozen=True)
class Setting:
    """What a task may use besides a backbone and classes.

    `clip` names the model and the weights of ClipMatch's text tower, None for none; `device` is where it runs; `cache`
    a folder for its embeddings. `label_smoothing` is that of a cross-entropy over classes.
    """

    clip: Mapping[str, str] | None = None
    device: str = "cpu"
    cache: Path | None = None
    label_smoothing: float = 0.0


class Task(Protocol):
    """One kind of problem. `metric` is the score that chooses checkpoints, one of those that `example_scores` gives,
    `chance` what guessing scores by it in percent, None where that is not known; `notes` is what run.json says of it,
    {} for nothing."""

    metric: str
    chance: float | None
    notes: Mapping[str, Any]

    def over(self, classes: tuple[str, ...]) -> Task:
        """The task with other classes, for a split that has its own; tasks without classes have no such splits."""

    def collate(self, records: Sequence[Any], train: bool = False) -> Batch:
        """Records of a dataset as a batch. It runs in the loading processes. `train`: with what the loss needs."""

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """The mean loss of a batch on the model's device: a 0-dim tensor. `module` may also be a callable that runs the
        model with other weights in place of its own."""

    def predict(self, module: nn.Module, batch: Batch) -> Answers:
        """The model's answers to a batch, on the host."""

    def example_scores(self, answers: Answers, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Every score that applies, by name: float64 (n,) in [0, 1] for all examples of a split."""

    def stored(self, answers: Answers, truth: np.ndarray, scores: dict[str, np.ndarray]) -> tuple[Stored, Stored]:
        """The part of a split that a prediction bundle keeps: the answers, with those of the `scores` of examples that
        are no function of them and the truth, and the truth. See `digrap.runs.predictions`."""

    def shown(self, answers: Answers, truth: np.ndarray) -> list[str]:
        """A few answers, each beside its question and the truth, for whoever watches a run; none where an answer says
        nothing without its picture."""

    def report(self, answers: Answers, truth: np.ndarray) -> dict[str, Any]:
        """Scores in percent with intervals, and whatever else evaluate.py prints of a split."""


def known_tasks() -> list[str]:
    """Names of the modules here that define a task: the choices of dataset.task."""
    return sorted(module.name for module in pkgutil.iter_modules(tasks.__path__) if module.name != "task")


def task_named(
    name: str, backbone: Backbone, classes: Sequence[str], select_by: str, setting: Setting | None = None
) -> Task:
    """The task of the module digrap.tasks.<name>, for a backbone and the dataset's classes.

    `select_by` is the score that chooses checkpoints. Raises DigrapError for an unknown task, a score that it does not
    have, and a backbone that is not made for it.
    """
    setting = setting or Setting()
    check_choice(name, select_by, setting)
    return _module(name).build(backbone, tuple(classes), select_by, setting)


def check_choice(name: str, select_by: str, setting: Setting) -> None:
    """Raise DigrapError for an unknown task and a score that it does not have in this setting; no file is read."""
    if name not in known_tasks():
        raise DigrapError(f"dataset.task={name}: there is no such task; {nearest(name, known_tasks())}")
    _module(name).check(select_by, setting)


def find_weights(name: str, setting: Setting) -> None:
    """Find or fetch the weights that the task's scores need, where they need any. Raises DigrapError where there are
    none: before a backbone is read, which takes longer."""
    if (find := getattr(_module(name), "find_weights", None)) is not None:
        find(setting)


def backbones_for(name: str) -> str:
    """The task whose backbones the task called `name` takes: its own, unless its module says otherwise."""
    return getattr(_module(name), "BACKBONES", name) if name in known_tasks() else name


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"digrap.tasks.{name}")


def check_no_smoothing(setting: Setting) -> None:
    """Raise DigrapError for label smoothing where a loss is over no classes."""
    if setting.label_smoothing:
        raise DigrapError(
            f"trainer.label_smoothing={setting.label_smoothing}: the loss of text answers has no label smoothing; "
            "leave it out"
        )


def check_select_by(select_by: str, known: Sequence[str]) -> str:
    """`select_by`, if it is one of the known scores. Raises DigrapError otherwise."""
    if select_by not in known:
        raise DigrapError(f"dataset.select_by={select_by}: there is no such score; {nearest(select_by, known)}")
    return select_by
