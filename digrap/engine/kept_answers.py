"""Answers of a split as they come, on disk: an evaluation that was killed resumes after the batches that it kept.

`answers-<name>-<rank>.npz` holds `key` (a digest of all that decides answers: weights, decoding, the batches), `batch`
and `size` (the numbers of the batches and how many examples each has), and every answer as `answer.<its name>`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from omegaconf import DictConfig, OmegaConf

from digrap.core.errors import DigrapError, Interrupted
from digrap.engine import provenance
from digrap.runs.npz import Values, read_npz, write_npz
from digrap.runs.written import kept_answers, kept_answers_file
from digrap.tasks.task import Answers

log = logging.getLogger(__name__)
Part = tuple[Answers, np.ndarray]  # answers to a batch, and its truth
ANSWER = "answer."
DECIDING = ("precision", "decoding", "threads", "channels_last", "compile")  # of the trainer


@dataclass
class KeptAnswers:
    """The answers of one process to one dataset; a `with` writes them at its end, after an interruption too. `taken`
    are the batches that an earlier start has answered, of all processes, by their number; those in `batches` are
    written."""

    file: Path
    key: str
    seconds: float
    taken: dict[int, Part]
    batches: dict[int, Part] = field(default_factory=dict)
    saved_at: float = field(default_factory=time.monotonic)

    def __enter__(self) -> KeptAnswers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Interrupted):
            self.save()

    def add(self, number: int, part: Part) -> None:
        """Keep the answers to a batch, on disk too where the last writing is long enough ago."""
        self.batches[number] = part
        if time.monotonic() - self.saved_at >= self.seconds:
            self.save()

    def save(self) -> None:
        """Write the batches."""
        parts = [answers for answers, _ in self.batches.values()]
        content: dict[str, Values] = {
            "key": np.array(self.key),
            "batch": np.array(list(self.batches), np.int64),
            "size": np.array([len(part["prediction"]) for part in parts], np.int64),
        }
        for name in parts[0] if parts else ():
            whole = np.concatenate([part[name] for part in parts])
            content[ANSWER + name] = list(whole) if whole.dtype == object else whole
        write_npz(self.file, content)
        self.saved_at = time.monotonic()


@dataclass(frozen=True)
class Keeper:
    """Keeps answers in `folder` until the run is done."""

    folder: Path
    cfg: DictConfig
    accelerator: Accelerator

    def open(
        self, name: str, weights: Callable[[], str], records: Sequence[Any], batches: list[list[int]]
    ) -> KeptAnswers:
        """The answers to a dataset with these `records`, in these batches, as far as an earlier start has them. All
        processes call it, the first one `weights`, the digest of the model's tensors."""
        found = [None, {}]
        if self.accelerator.is_main_process:
            key = self._key(weights(), records, batches)
            found = [key, self._read(name, key)]
        key, taken = broadcast_object_list(found)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        taken = {
            k: (answers, np.fromiter((records[place] for place in batches[k]), object)) for k, answers in taken.items()
        }
        mine = {k: part for k, part in taken.items() if k % world == rank}
        file = self.folder / kept_answers_file(name, rank)
        return KeptAnswers(file, key, 60 * self.cfg.trainer.checkpoint_minutes, taken, mine)

    def _key(self, weights: str, records: Sequence[Any], batches: list[list[int]]) -> str:
        plain = OmegaConf.to_container(self.cfg, resolve=True)
        decides = {
            "weights": weights,
            "model": [plain["backbone"], plain["peft"], *(plain["trainer"][key] for key in DECIDING)],
            "device": provenance.device_name(self.accelerator), "versions": provenance.versions(self.cfg),
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
        for batch in batches:
            digest.update(f"{len(batch)}: {[records[place] for place in batch]!r}".encode())
        return digest.hexdigest()

    def _read(self, name: str, key: str) -> dict[int, Answers]:
        """The batches that any process has kept under this key."""
        taken: dict[int, Answers] = {}
        for file in kept_answers(self.folder, name):
            try:
                content = read_npz(file, "kept answers", remedy="their questions are answered again")
                if str(content["key"]) == key:
                    taken |= _by_batch(content)
            except (DigrapError, KeyError, ValueError) as error:
                log.warning("%s", error)
        if taken:
            log.info("%s: %d batches were already answered", name, len(taken))
        return taken


def _by_batch(content: dict[str, Values]) -> dict[int, Answers]:
    """{number of a batch: its answers}."""
    ends = np.cumsum(content["size"])[:-1]
    parts = {
        name.removeprefix(ANSWER): np.split(np.asarray(values, object if isinstance(values, list) else None), ends)
        for name, values in content.items()
        if name.startswith(ANSWER)
    }
    return {int(number): {name: part[k] for name, part in parts.items()} for k, number in enumerate(content["batch"])}
