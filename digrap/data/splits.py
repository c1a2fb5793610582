"""The contract between datasets and everything else: named splits, each with a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError

KINDS = ("id_train", "id_val", "id_test", "near_ood", "far_ood")


@dataclass(frozen=True)
class Over:
    """The classes that a split is scored over: `names` in the order of its labels, and for each the places in the
    dataset's classes that count as it, of which the most probable one speaks."""

    names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Split:
    """A named part of a dataset. Only the dataset's config knows which split is out of distribution.

    `load` returns a map-style torch Dataset; the work (drawing, reading) is done when it is called. `over` are the
    classes that its labels mean, None for those of the dataset.
    """

    name: str
    kind: str
    dataset: str
    load: Callable[[], Dataset]
    over: Over | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"split {self.name}: kind {self.kind!r} is not one of {', '.join(KINDS)}")

    @property
    def kept(self) -> Split:
        """The split, loaded at most once."""
        return replace(self, load=cache(self.load))


@dataclass(frozen=True)
class DataModule:
    """A dataset's splits by name, in the order of its config, and its class names in label order.

    `protocol` names the rules by which the splits were made, where a dataset has several; a table never mixes two.
    `caveats` are sentences printed beside every result. `about` returns the content of a run's data.json, {} for none:
    counts, problems of the files, and under `leaks` the leakage of tests into training (digrap.data.vqa.leakage).
    `pictures` counts by split the picture files that were looked at, moving and skipped ones (digrap.data.checked).
    """

    splits: dict[str, Split]
    classes: tuple[str, ...]
    protocol: str | None = None
    caveats: tuple[str, ...] = ()
    about: Callable[[], dict[str, Any]] | None = None
    pictures: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def skipped(self) -> dict[str, int]:
        """The number of examples by split that are left out because their picture cannot be read."""
        return {name: counts["skipped"] for name, counts in self.pictures.items() if "skipped" in counts}

    def of_kind(self, kind: str) -> list[Split]:
        """Return the splits of one kind, in config order."""
        return [split for split in self.splits.values() if split.kind == kind]

    def classes_of(self, split: str) -> tuple[str, ...]:
        """Return the names of the classes that a split's labels mean."""
        over = self.splits[split].over
        return self.classes if over is None else over.names

    @property
    def tested(self) -> list[Split]:
        """Return every split but the training one, each loaded at most once."""
        return [split.kept for split in self.splits.values() if split.kind != "id_train"]


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise DigrapError unless exactly one split trains and one validates."""
    kinds = list(kinds)
    for kind in ("id_train", "id_val"):
        if (count := kinds.count(kind)) != 1:
            raise DigrapError(f"dataset.splits: {count} of kind {kind}; give one")


def named_ood(
    taken: Iterable[str], near_ood: Iterable[str] | str | None, far_ood: Iterable[str] | str | None
) -> Iterator[tuple[str, str]]:
    """Yield (name, kind) of the out-of-distribution sets that the config names.

    Raises DigrapError for a name given twice and for one that cannot name a file or folder.
    """
    taken = set(taken)
    for kind, names in (("near_ood", near_ood), ("far_ood", far_ood)):
        for name in map(str, [names] if isinstance(names, str) else names or ()):
            if name in taken or Path(name).name != name:
                problem = "a split of that name exists already" if name in taken else "not a folder's name"
                raise DigrapError(f"dataset.{kind}: {name!r}: {problem}; give the <name> of test_<name>, once")
            taken.add(name)
            yield name, kind


class ImageTensors(Dataset):
    """Dataset in memory: images uint8 (N, 3, H, W), labels int64 (N,). Whole batches are indexed at once."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(self.images[i], self.labels[i]) for i in indices]


class Part(Dataset):
    """The examples of a dataset at some places, in that order; `ids`, `records` and the like are those of these."""

    OF_EACH = ("ids", "records", "lengths", "targets", "files")

    def __init__(self, data: Dataset, places: Sequence[int]):
        self.data, self.places = data, list(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        return self.data[self.places[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        places = [self.places[index] for index in indices]
        return self.data.__getitems__(places) if hasattr(self.data, "__getitems__") else [self.data[k] for k in places]

    def __getattr__(self, name: str) -> Any:
        """What the whole dataset says; of what it says of each example, the part."""
        if name in ("data", "places") or name.startswith("__"):  # not there yet while a copy is being made
            raise AttributeError(name)
        value = getattr(self.data, name)
        return [value[place] for place in self.places] if name in self.OF_EACH else value
