"""A trained classifier on data that it was not trained for: classes agree by name, a part of them is scored alone."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from digrap.config.schema import CLASSIFICATION, task_of
from digrap.core.errors import DigrapError
from digrap.data.class_names import identity
from digrap.data.splits import DataModule
from digrap.engine.build import build_data, call_choice, takes
from digrap.runs.folder import RunFolder

CLASSES = "classes.json"  # beside exported weights
SHOWN = 3


class SomeClasses(nn.Module):
    """A classifier's logits of some of its classes: (N, classes) → (N, len(groups)), of each group of classes the
    largest."""

    def __init__(self, module: nn.Module, groups: Sequence[Sequence[int]], device: torch.device | None = None):
        super().__init__()
        self.module = module
        longest = max(map(len, groups))
        columns = [[*group, *[group[0]] * (longest - len(group))] for group in groups]
        self.register_buffer("columns", torch.tensor(columns, device=device), persistent=False)

    def forward(self, *args, **kwargs) -> Tensor:
        return self.module(*args, **kwargs)[:, self.columns].amax(dim=-1)


def classes_of(run: RunFolder, own: DictConfig) -> tuple[str, ...]:
    """The class names of a run, in label order: as it wrote them down, else those of its own dataset."""
    if (names := classes_beside(run.path)) is not None:
        return names
    names = run.facts().get("classes")
    return tuple(names) if isinstance(names, list) else build_data(own).classes


def classes_beside(folder: Path) -> tuple[str, ...] | None:
    """The class names that an export has written beside its weights; None where there are none."""
    file = Path(folder) / CLASSES
    if not file.is_file():
        return None
    names = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DigrapError(f"{file} is damaged (not a list of names); export the run again")
    return tuple(names)


def build_other(cfg: DictConfig, known: Sequence[str]) -> DataModule:
    """The data of `cfg` for a model that knows the classes `known`, () for one that takes any. Raises DigrapError where
    some of the data's are none of them."""
    more = {"known": tuple(known)} if takes("dataset", cfg.dataset, "known") else {}
    data = call_choice("dataset", cfg.dataset, **more)
    if known and task_of(cfg) == CLASSIFICATION:
        columns(data.classes, known)
    return data


def columns(classes: Sequence[str], known: Sequence[str]) -> list[int]:
    """The place of every class among the `known` ones; names agree but for case, spaces, hyphens and underscores.

    Raises DigrapError naming those that are not known.
    """
    places = {identity(name): place for place, name in enumerate(known)}
    if unknown := [name for name in classes if identity(name) not in places]:
        listed = ", ".join(unknown[:SHOWN]) + (", …" if len(unknown) > SHOWN else "")
        near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.5) or known[:SHOWN]
        raise DigrapError(
            f"{len(unknown)} of the data's {len(classes)} classes are not among the {len(known)} that the model knows: "
            f"{listed}; nearest to the first: {', '.join(near)}; rename their folders, or leave them out"
        )
    return [places[identity(name)] for name in classes]


def restricted(module: nn.Module, classes: Sequence[str], known: Sequence[str]) -> nn.Module:
    """The module with the logits of `classes`, in their order; itself where these are all, in the same order."""
    chosen = columns(classes, known)
    return module if chosen == list(range(len(known))) else SomeClasses(module, [[column] for column in chosen])
