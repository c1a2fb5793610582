"""Batches whose order and augmentation depend on seed, epoch and example alone: a resumed epoch goes on exactly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from the run's seed and a purpose; the one place where seeds are derived."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Transformed(Dataset):
    """A dataset with a per-image transform whose randomness is fixed by (seed, example)."""

    def __init__(self, dataset: Dataset, transform: Callable, seed: int):
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.dataset[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, index))
            return self.transform(image), label


def make_loader(dataset: Dataset, batches: list[list[int]], workers: int, pin: bool) -> DataLoader:
    # A loader without a generator of its own draws from the global one, which dropout uses: a resumed run, which makes
    # loaders anew, would go on with other numbers.
    own = torch.Generator().manual_seed(0)
    workers = min(workers, os.cpu_count() or 1)  # more would only wait for each other
    return DataLoader(dataset, batch_sampler=batches, num_workers=workers, pin_memory=pin, generator=own)


def train_batches(
    dataset: Dataset,
    transform: Callable | None,
    *,
    seed: int,
    epoch: int,
    start: int,
    micro_batch: int,
    rank: int,
    world: int,
    limit: int,
    workers: int,
    pin: bool,
) -> Iterator[Any]:
    """Micro-batches `start` … `limit` − 1 of an epoch for one of `world` processes, in an order of (seed, epoch)."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    order = torch.randperm(len(dataset), generator=generator)
    stride = micro_batch * world
    batches = [order[k * stride + rank * micro_batch :][:micro_batch].tolist() for k in range(start, limit)]
    if transform is not None:
        dataset = Transformed(dataset, transform, derive_seed(seed, "augment", epoch))
    return iter(make_loader(dataset, batches, workers, pin))


def eval_batches(
    dataset: Dataset, transform: Callable | None, *, batch: int, rank: int, world: int, workers: int, pin: bool
) -> DataLoader:
    """All examples in order, every `world`-th batch for this process."""
    count = len(dataset)
    batches = [list(range(i, min(i + batch, count))) for i in range(0, count, batch)]
    if transform is not None:
        dataset = Transformed(dataset, transform, 0)
    return make_loader(dataset, batches[rank::world], workers, pin)
