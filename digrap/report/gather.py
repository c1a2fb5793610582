"""Finished runs as tables read them: a result, and from its prediction bundle which examples were right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from digrap.config.schema import split_kinds
from digrap.core.errors import DigrapError
from digrap.runs.predictions import PREDICTIONS, read_bundle
from digrap.tables import spec
from digrap.tables.plan import Plan
from digrap.tables.spec import Cell, Table, load_table

SCHEMA = 1
METRIC = "accuracy"  # what a bundle of predictions and labels gives
KEYS = ("hash", "seed", "metric", "scores", "commit", "dirty", "device", "versions")  # of a results.json, read here
OOD = ("near_ood", "far_ood")


@dataclass(frozen=True)
class Run:
    """A finished run. `file` is its results.json, `bundle` its predictions; `labels_folder`/labels has their truth."""

    row: str
    seed: int
    overrides: tuple[str, ...]
    result: dict[str, Any]
    file: Path
    bundle: Path
    labels_folder: Path

    @property
    def name(self) -> str:
        """Row, seed and hash, for messages."""
        return f"{self.row}, seed {self.seed} ({self.result.get('hash', self.file)})"

    def score(self, split: str) -> float:
        """The split's score in percent, as results.json has it."""
        try:
            return float(self.result["scores"][split][self.result["metric"]])
        except (KeyError, TypeError, ValueError) as error:
            raise DigrapError(f"{self.file} has no score of split {split}; make the run again") from error

    def correct(self, split: str) -> np.ndarray:
        """Which of the split's examples were right: bool (n,). Raises DigrapError where the bundle is not whole, or
        gives another score than results.json."""
        predictions, labels = self._arrays
        prediction, label = predictions.get(f"{split}.prediction"), labels.get(f"{split}.label")
        if prediction is None or label is None or prediction.shape != label.shape or not label.size:
            raise DigrapError(f"{self.bundle} has no whole predictions of split {split}; make the run again")
        right = prediction == label
        found, written = 100.0 * int(np.count_nonzero(right)) / right.size, self.score(split)
        n = self.result["scores"][split].get("n")
        if self.result["metric"] != METRIC:
            raise DigrapError(f"{self.file}: metric {self.result['metric']} is not computed from predictions yet")
        if abs(found - written) > 1e-9 or n != right.size:
            raise DigrapError(
                f"{self.row}, seed {self.seed}, split {split}: the predictions in {self.bundle} give {found!r} % of "
                f"{right.size}, {self.file} says {written!r} % of {n}; make the run again"
            )
        return right

    def labels(self, split: str) -> np.ndarray:
        """The split's true classes."""
        return self._arrays[1][f"{split}.label"]

    @cached_property
    def _arrays(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return read_bundle(self.bundle, self.labels_folder)


@dataclass(frozen=True)
class Missing:
    """A printed cell that is not there, and the command that makes it."""

    row: str
    seed: int
    command: str


@dataclass(frozen=True)
class Source:
    """All that a table is rendered from. `splits` maps its tested splits to their kinds, ID first; `own_pictures`:
    every seed has examples of its own."""

    table: Table
    splits: dict[str, str]
    own_pictures: bool
    runs: list[Run]
    missing: list[Missing]


def read_result(path: Path) -> dict[str, Any]:
    """A results.json. Raises DigrapError for a damaged one or one of another schema."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DigrapError(f"{path} is damaged ({error}); delete it and make the run again") from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        found = result.get("schema") if isinstance(result, dict) else None
        raise DigrapError(f"{path} has schema {found}, this version reads {SCHEMA}; make the run again")
    if lacking := [key for key in KEYS if key not in result]:
        raise DigrapError(f"{path} is damaged (no {', '.join(lacking)}); delete it and make the run again")
    return result


def read_run(folder: Path) -> Run:
    """A run from its folder in outputs/, or from docs/results/<table>/runs/<hash>; its row is its method."""
    folder = Path(folder)
    if folder.is_dir():
        file, bundle, labels = folder / "results.json", folder / PREDICTIONS, folder.parent
    else:
        file, bundle = folder.with_suffix(".json"), folder.with_suffix(".npz")
        labels = folder.parent.parent
    if not file.exists():
        raise DigrapError(f"{folder} is no finished run: {file} is not there; finish it, or give another folder")
    result = read_result(file)
    return Run(str(result.get("method")), result.get("seed"), (), result, file, bundle, labels)


def from_outputs(table: Table, outputs: Path) -> Source:
    """A table's runs from the outputs tree. Raises DigrapError naming every results.json that cannot be read."""
    plan, runs, missing, broken = Plan(table, outputs), [], [], []
    for row, seed, cell in plan.finals():
        if cell is None:
            missing.append(Missing(row.label, seed, _table_command(table)))
        elif not plan.done(cell):
            missing.append(Missing(row.label, seed, cell.command))
        else:
            try:
                runs.append(_run(cell, cell.folder(plan.outputs)))
            except DigrapError as error:
                broken.append(str(error))
    if broken:
        raise DigrapError("\n".join(broken))
    samples = [_sample(table, seed) for seed in table.seeds[:2]]
    own = all(cell.config.dataset.get("seed") == cell.seed for cell in samples)
    return Source(table, tested(split_kinds(samples[0].config)), own, runs, missing)


def tested(kinds: dict[str, str]) -> dict[str, str]:
    """The splits that a table prints: the ID test first, then near, then far OOD."""
    return {name: kind for wanted in ("id_test", *OOD) for name, kind in kinds.items() if kind == wanted}


def _run(cell: Cell, folder: Path) -> Run:
    file = folder / "results.json"
    return Run(cell.row, cell.seed, cell.overrides, read_result(file), file, folder / PREDICTIONS, folder.parent)


def _sample(table: Table, seed: int) -> Cell:
    """Any run of the table, for what all have in common."""
    row = next(row for row in table.rows.values() if row.start is None)
    return table.cell(row.label, seed, row.choices()[0])


def _table_command(table: Table) -> str:
    if not (spec.CONFIGS / "tables" / f"{table.name}.yaml").is_file():  # a file of one's own
        return f"python train.py -m table=….yaml, the file of table {table.name}"
    seeds = "" if load_table(table.name).seeds == table.seeds else f" seed={','.join(map(str, table.seeds))}"
    return f"python train.py -m table={table.name}{seeds}"
