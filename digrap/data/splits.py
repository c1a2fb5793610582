"""The contract between datasets and everything else: named splits, each with a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

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
    """A dataset's splits by name, in the order of its config, and its class names in label order."""

    splits: dict[str, Split]
    classes: tuple[str, ...]

    def of_kind(self, kind: str) -> list[Split]:
        """The splits of one kind, in config order."""
        return [split for split in self.splits.values() if split.kind == kind]


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
