"""Answers of a model to whole splits, and their scores."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from omegaconf import DictConfig
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError
from digrap.core.progress import track
from digrap.data.splits import Split
from digrap.engine import interruption
from digrap.engine.kept_answers import Keeper, KeptAnswers, Part
from digrap.engine.loaders import eval_batches, eval_places
from digrap.engine.other_data import SomeClasses
from digrap.engine.out_of_memory import advising, for_answering
from digrap.engine.provenance import PeakMemory
from digrap.engine.sharding import is_sharded, unsharded
from digrap.metrics.accuracy import percent
from digrap.models.backbone import Backbone
from digrap.models.weights import tensors_sha256
from digrap.runs.predictions import write_bundle
from digrap.tasks.task import Answers, Task

log = logging.getLogger(__name__)


@dataclass
class Throughput:
    """Examples and the seconds that they took, counted in this process over all processes' examples."""

    examples: int = 0
    seconds: float = 0.0

    def add(self, examples: int, seconds: float) -> None:
        """Count some more."""
        self.examples += examples
        self.seconds += seconds

    def since(self, before: Throughput) -> dict[str, float | None]:
        """What was counted since `before`, with its rate."""
        found = Throughput(self.examples - before.examples, self.seconds - before.seconds)
        return {"answered": found.examples, "seconds": round(found.seconds, 3), "per_s": found.rate}

    @property
    def rate(self) -> float | None:
        """Examples a second; None before there is any."""
        return round(self.examples / self.seconds, 2) if self.seconds > 0 else None


@dataclass
class Evaluator:
    """Predicts and scores splits with one model on one device.

    `keeper`, where there is one, keeps answers as they come. `size_option` is what a user gives another batch size
    with. `tested` says of every split that was scored how many
    examples were answered, in how many seconds, how many a second, and the memory that this took.
    """

    accelerator: Accelerator
    backbone: Backbone
    task: Task
    cfg: DictConfig
    memory: PeakMemory
    keeper: Keeper | None = None
    size_option: str = "trainer.eval_batch_size"
    throughput: Throughput = field(default_factory=Throughput)
    tested: dict[str, dict[str, Any]] = field(default_factory=dict)

    @torch.no_grad()
    def predict(
        self, module: torch.nn.Module, data: Dataset, name: str, title: str, weights: Callable[[], str] | None = None
    ) -> tuple[Answers, np.ndarray]:
        """Answers and truth for all examples of a dataset, in its order.

        The answers to batches that an earlier start has kept under `name` are taken from there. `title` is that of the
        progress bar, `weights` the digest of the model's tensors, where it serves several datasets.
        """
        # Through the wrapper of several processes a forward pass would wait for those that have no batch.
        module, world = self.accelerator.unwrap_model(module).eval(), self.accelerator.num_processes
        if world > 1:  # batch norm's statistics of the first process, as in the weights that are kept
            for buffer in module.buffers():
                buffer.copy_(broadcast(buffer))
        places, records = eval_places(data, self.cfg.trainer.eval_batch_size), getattr(data, "records", None)
        kept = None
        if self.keeper and records is not None:
            weights = weights or _digest(module)
            if is_sharded(module):
                weights()  # gathered by all processes
            kept = self.keeper.open(name, weights, records, places)
        parts = dict(kept.taken) if kept else {}
        left = [k for k in range(len(places)) if k not in parts]
        share = {k: places[k] for k in left[self.accelerator.process_index :: world]}
        started, answered = time.monotonic(), sum(len(places[k]) for k in left)
        with unsharded(module):
            parts |= self._answer(module, data, share, kept, title)
        if world > 1:
            parts = {k: part for found in gather_object([parts]) for k, part in found.items()}
        self.throughput.add(answered, time.monotonic() - started)
        back = np.argsort(np.concatenate(places))  # from the order of answering to that of the dataset
        ordered = [parts[k] for k in range(len(places))]
        answers = {key: np.concatenate([answers[key] for answers, _ in ordered])[back] for key in ordered[0][0]}
        return answers, np.concatenate([truth for _, truth in ordered])[back]

    def _answer(
        self,
        module: torch.nn.Module,
        data: Dataset,
        places: dict[int, list[int]],
        kept: KeptAnswers | None,
        title: str,
    ) -> dict[int, Part]:
        """The answers of this process to the batches at `places`, by their numbers; they are also put to `kept`."""
        device, parts = self.accelerator.device, {}
        loader = eval_batches(
            data, self.backbone.eval_transform, self.task.collate, list(places.values()),
            workers=self.cfg.trainer.workers, pin=device.type == "cuda",
        )  # fmt: skip
        less_memory = for_answering(self.cfg, self.size_option)
        batches = track(
            loader, title, total=sum(map(len, places.values())), size=lambda batch: batch.size, unit="examples"
        )
        with interruption.deferring(), kept or contextlib.nullcontext():
            for number, batch in zip(places, batches, strict=True):
                with self.accelerator.autocast(), advising(f"in {title}", less_memory):
                    answers = self.task.predict(module, batch.to(device))
                parts[number] = answers, batch.truth
                if kept is not None:
                    kept.add(number, parts[number])
                interruption.check("the answers so far are kept" if kept else "")
        return parts

    def validate(self, module: torch.nn.Module, data: Dataset) -> float:
        """The score that chooses checkpoints, in percent, on ID validation."""
        answers, truth = self.predict(module, data, "validate", "validate")
        self._show(answers, truth)
        scores = self.task.example_scores(answers, truth)
        if self.task.metric not in scores:
            raise DigrapError(
                f"dataset.select_by={self.task.metric} does not apply to every example of ID validation; choose one of "
                f"{', '.join(scores)}"
            )
        return percent(scores[self.task.metric])

    def score(
        self,
        module: torch.nn.Module,
        splits: Sequence[Split],
        bundle: Path | None = None,
        labels_folder: Path | None = None,
        full: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """{split: {kind, n, score …}} in percent, with the task's whole report where `full`.

        The answers of all splits go to `bundle`, where one is given, their truth into `labels_folder`/labels (default:
        beside the bundle's folder).
        """
        scores, stored, truths = {}, {}, {}
        weights = _digest(self.accelerator.unwrap_model(module))  # of a 7B model it takes seconds
        for split in splits:
            data, before = split.load(), replace(self.throughput)
            tested, task = self._over(module, split)
            with self.memory.part() as peak:
                answers, truth = self.predict(tested, data, split.name, f"test {split.name}", weights)
            self.tested[split.name] = {**self.throughput.since(before), "peak_memory": peak}
            if split.kind == "id_val":
                self._show(answers, truth)
            examples = task.example_scores(answers, truth)
            found = {name: percent(values) for name, values in examples.items()}
            more = task.report(answers, truth) if full else {}
            scores[split.name] = {"kind": split.kind, "n": len(truth), **found, **more}
            if bundle is not None:
                stored[split.name], truths[split.name] = task.stored(answers, truth, examples)
                if (ids := getattr(data, "ids", None)) is not None:  # else an example's id is its place
                    truths[split.name] |= {"id": list(ids)}
        if bundle is not None and self.accelerator.is_main_process:
            write_bundle(bundle, stored, truths, labels_folder)
        return scores

    def _show(self, answers: Answers, truth: np.ndarray) -> None:
        """Log a few answers: a score of 0 is often a form of answer, a prompt, that a glance shows."""
        if self.accelerator.is_main_process and (shown := self.task.shown(answers, truth)):
            log.info("answers: %s", "; ".join(shown))

    def _over(self, module: torch.nn.Module, split: Split) -> tuple[torch.nn.Module, Task]:
        """The model and the task for a split: over its own classes, where it has such."""
        if split.over is None:
            return module, self.task
        whole = self.accelerator.unwrap_model(module)
        return SomeClasses(whole, split.over.groups, self.accelerator.device), self.task.over(split.over.names)


def _digest(module: torch.nn.Module) -> Callable[[], str]:
    """What gives the sha256 of a model's tensors as they are at the first call."""
    return cache(lambda: tensors_sha256(module.state_dict()))
