"""Batches whose order and augmentation depend only on seed, epoch and example: a resumed epoch continues exactly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset

from digrap.config.schema import SMOKE_STEPS
from digrap.core.counted import counted
from digrap.core.errors import DigrapError
from digrap.engine import interruption
from digrap.tasks.task import Batch


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
        image, truth = self.dataset[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, index))
            return self.transform(image), truth


def make_loader(
    dataset: Dataset, batches: list[list[int]], collate: Callable[[list], Batch], workers: int, pin: bool
) -> DataLoader:
    """A loader of the given batches of indices; `collate` runs in its `workers` processes (0: in this one)."""
    # A loader without a generator of its own draws from the global one, which dropout uses: a resumed run, which
    # makes new loaders, would continue with other numbers.
    own = torch.Generator().manual_seed(0)
    workers = min(workers, os.cpu_count() or 1)  # more would only wait for each other
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers, pin_memory=pin, generator=own,
        worker_init_fn=interruption.outlive if workers else None,
    )  # fmt: skip


def train_batches(
    dataset: Dataset,
    transform: Callable | None,
    collate: Callable[[list, bool], Batch],
    *,
    seed: int,
    epoch: int,
    start: int,
    limit: int,
    batch_size: int,
    micro_batch: int,
    rank: int,
    world: int,
    workers: int,
    pin: bool,
) -> Iterator[Batch]:
    """Batches `start` … `limit` − 1 of an epoch, in an order that (seed, epoch) decides: of each the share of one of
    `world` processes, whose k-th micro-batch is the same examples whatever else is in the batch."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    order = torch.randperm(len(dataset), generator=generator)
    stride, batches = micro_batch * world, []
    for step in range(start, limit):
        whole = order[step * batch_size : (step + 1) * batch_size]
        parts = [whole[k + rank * micro_batch :][:micro_batch] for k in range(0, batch_size, stride)]
        batches.append(torch.cat(parts).tolist())
    if transform is not None:
        dataset = Transformed(dataset, transform, derive_seed(seed, "augment", epoch))
    return iter(make_loader(dataset, batches, partial(collate, train=True), workers, pin))


def batch_sizes(trainer: DictConfig, examples: int, world: int) -> tuple[int, int]:
    """Examples per optimizer step, and of these per process and forward pass: as the recipe says; in a smoke run on
    fewer examples than that, what these allow. Raises DigrapError where there are too few."""
    if trainer.smoke and examples < trainer.batch_size:
        share = max(1, examples // SMOKE_STEPS // world)
        micro = min(trainer.micro_batch, share)
        check_batch(batch := share // micro * micro * world, examples)
        return batch, micro
    check_batch(trainer.batch_size, examples)
    return trainer.batch_size, micro_batch(trainer, world)


def check_batch(size: int, examples: int) -> None:
    """Raise DigrapError where there is not one batch of that size."""
    if examples < size:
        raise DigrapError(
            f"trainer.batch_size={size} is more than the {counted(examples, 'example')} to train on; give a smaller one"
        )


def micro_batch(trainer: DictConfig, world: int) -> int:
    """Examples per process and forward pass: as the recipe says, whatever the number of processes.

    Raises DigrapError where the batch is not a multiple of it; with the largest number that does, if there is one.
    """
    size = min(trainer.micro_batch, trainer.batch_size)
    if trainer.batch_size % (size * world) == 0:
        return size
    share, left = divmod(trainer.batch_size, world)
    fits = max((k for k in range(1, size + 1) if share % k == 0), default=1)
    remedy = f"a batch_size that is a multiple of {world}" if left else f"trainer.micro_batch={fits}"
    raise DigrapError(
        f"trainer.batch_size={trainer.batch_size} is not a multiple of trainer.micro_batch={trainer.micro_batch} × "
        f"{world} processes; give {remedy}"
    )


def eval_places(dataset: Dataset, batch: int) -> list[list[int]]:
    """The places of the examples of each batch, in the order of answering: where the dataset gives their `lengths`, the
    longest come first, so that a batch has little padding and the first one takes the most memory."""
    lengths, order = getattr(dataset, "lengths", None), range(len(dataset))
    if lengths is not None:
        order = sorted(order, key=lengths.__getitem__, reverse=True)
    return [list(order[start : start + batch]) for start in range(0, len(order), batch)]


def order_notes(dataset: Dataset) -> dict[str, str]:
    """What results say of the order of `eval_places`, where it is not the dataset's own."""
    return {"eval_order": "longest first"} if hasattr(dataset, "lengths") else {}


def eval_batches(
    dataset: Dataset,
    transform: Callable | None,
    collate: Callable[[list], Batch],
    places: list[list[int]],
    *,
    workers: int,
    pin: bool,
) -> DataLoader:
    """A batch of the examples at each of the `places`."""
    if transform is not None:
        dataset = Transformed(dataset, transform, 0)
    return make_loader(dataset, places, collate, workers, pin)
