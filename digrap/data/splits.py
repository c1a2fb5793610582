"""The contract between datasets and everything else: named splits, each with a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError

KINDS = ("id_train", "id_val", "id_test", "near_ood", "far_ood")


@dataclass(frozen=True)
class Split:
    """A named part of a dataset. Only the dataset's config knows which split is out of distribution.

    `load` gives a map-style torch Dataset and does the work (drawing, reading) when called, not before.
    """

    name: str
    kind: str
    dataset: str
    load: Callable[[], Dataset]

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"split {self.name}: kind {self.kind!r} is not one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class DataModule:
    """A dataset's splits by name, in the order of its config, and its class names in label order.

    `protocol` says by what rules the splits were made, where a dataset has several; results of two never share a
    table. `caveats` are sentences that stand beside every result. `about` gives what a run keeps as data.json: counts,
    what was wrong with the files, and under `leaks` what training has of the tests (see data/leaks.py).
    """

    splits: dict[str, Split]
    classes: tuple[str, ...]
    protocol: str | None = None
    caveats: tuple[str, ...] = ()
    about: Callable[[], dict[str, Any]] | None = None

    def of_kind(self, kind: str) -> list[Split]:
        """The splits of one kind, in config order."""
        return [split for split in self.splits.values() if split.kind == kind]


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise DigrapError unless one split trains and one validates."""
    kinds = list(kinds)
    for kind in ("id_train", "id_val"):
        if (count := kinds.count(kind)) != 1:
            raise DigrapError(f"dataset.splits: {count} of kind {kind}; give one")


def named_ood(
    taken: Iterable[str], near_ood: Iterable[str] | str | None, far_ood: Iterable[str] | str | None
) -> Iterator[tuple[str, str]]:
    """(name, kind) of the out-of-distribution sets that a user names. Raises DigrapError for a name given twice, or
    that is none of a file or folder."""
    taken = set(taken)
    for kind, names in (("near_ood", near_ood), ("far_ood", far_ood)):
        for name in map(str, [names] if isinstance(names, str) else names or ()):
            if name in taken or Path(name).name != name:
                problem = "a split of that name is there already" if name in taken else "that is no name of a folder"
                raise DigrapError(f"dataset.{kind}: {name!r}: {problem}; give the <name> of test_<name>, once")
            taken.add(name)
            yield name, kind


class ImageTensors(Dataset):
    """Images held in memory: uint8 (N, 3, H, W), labels int64 (N,). Whole batches are indexed at once."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(self.images[i], self.labels[i]) for i in indices]
