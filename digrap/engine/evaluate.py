"""Answers of a model to whole splits, and their scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from digrap.engine.loaders import eval_batches, eval_order
from digrap.metrics.accuracy import percent
from digrap.models.backbone import Backbone
from digrap.runs.predictions import write_bundle
from digrap.tasks.task import Answers, Task


@dataclass
class Throughput:
    """Examples and the seconds that they took, counted in this process over all processes' examples."""

    examples: int = 0
    seconds: float = 0.0

    def add(self, examples: int, seconds: float) -> None:
        """Count some more."""
        self.examples += examples
        self.seconds += seconds

    @property
    def rate(self) -> float | None:
        """Examples a second; None before there is any."""
        return round(self.examples / self.seconds, 2) if self.seconds > 0 else None


@dataclass
class Evaluator:
    """Predicts and scores splits with one model on one device."""

    accelerator: Accelerator
    backbone: Backbone
    task: Task
    cfg: DictConfig
    throughput: Throughput = field(default_factory=Throughput)

    @torch.no_grad()
    def predict(self, module: torch.nn.Module, data: Dataset, name: str) -> tuple[Answers, np.ndarray]:
        """Answers and truth for all examples of a dataset, in its order. `name` titles the progress bar."""
        started, world, order = time.monotonic(), self.accelerator.num_processes, eval_order(data)
        loader = eval_batches(
            data, self.backbone.eval_transform, self.task.collate, order, batch=self.cfg.trainer.eval_batch_size,
            rank=self.accelerator.process_index, world=world, workers=self.cfg.trainer.workers,
            pin=self.accelerator.device.type == "cuda",
        )  # fmt: skip
        # Through the wrapper of several processes a forward pass would wait for those that have no batch.
        module = self.accelerator.unwrap_model(module).eval()
        if world > 1:  # batch norm's statistics of the first process, as in the weights that are kept
            for buffer in module.buffers():
                buffer.copy_(broadcast(buffer))
        parts = []
        share = sum(map(len, loader.batch_sampler))  # examples of this process
        for batch in track(loader, name, total=share, size=lambda batch: batch.size):
            with self.accelerator.autocast():
                answers = self.task.predict(module, batch.to(self.accelerator.device))
            parts.append((answers, batch.truth))
        if world > 1:  # batch k went to process k mod world
            shares = gather_object([parts])
            parts = [shares[k % world][k // world] for k in range(sum(map(len, shares)))]
        back = np.argsort(order)  # from the order of answering to that of the dataset
        answers = {key: np.concatenate([answers[key] for answers, _ in parts])[back] for key in parts[0][0]}
        truth = np.concatenate([truth for _, truth in parts])[back]
        self.throughput.add(len(truth), time.monotonic() - started)
        return answers, truth

    def validate(self, module: torch.nn.Module, data: Dataset) -> float:
        """The score that chooses checkpoints, in percent, on ID validation."""
        answers, truth = self.predict(module, data, "validate")
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
        for split in splits:
            data = split.load()
            answers, truth = self.predict(module, data, f"test {split.name}")
            examples = self.task.example_scores(answers, truth)
            found = {name: percent(values) for name, values in examples.items()}
            more = self.task.report(answers, truth) if full else {}
            scores[split.name] = {"kind": split.kind, "n": len(truth), **found, **more}
            if bundle is not None:
                stored[split.name], truths[split.name] = self.task.stored(answers, truth, examples)
                if (ids := getattr(data, "ids", None)) is not None:  # else an example's id is its place
                    truths[split.name] |= {"id": list(ids)}
        if bundle is not None and self.accelerator.is_main_process:
            write_bundle(bundle, stored, truths, labels_folder)
        return scores
