"""Finished runs as tables read them: results, and from the prediction bundle the score of every example."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from digrap.config.overrides import as_typed
from digrap.config.schema import split_kinds
from digrap.core.errors import DigrapError
from digrap.metrics.accuracy import percent
from digrap.runs.folder import RunFolder
from digrap.runs.history import History, history_of, read_history
from digrap.runs.predictions import Bundle, read_bundle
from digrap.runs.results import OOD, PUBLISH_AGAIN, Results, read_results
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import Cell, Table, load_table

TOLERANCE = 1e-9  # between a score in results.json and the same one from the predictions, in percent


@dataclass(frozen=True)
class Run:
    """A finished run. `file` is its results.json, `bundle_file` its predictions; `labels_folder`/labels has their
    truth."""

    row: str
    seed: int
    overrides: tuple[str, ...]
    results: Results
    file: Path
    bundle_file: Path
    labels_folder: Path

    @property
    def name(self) -> str:
        """Row, seed and hash, for messages."""
        return f"{self.row}, seed {self.seed} ({self.results.hash})"

    @cached_property
    def bundle(self) -> Bundle:
        """The predictions. Raises DigrapError where they are missing or damaged."""
        return read_bundle(self.bundle_file, self.labels_folder)

    def scorer(self, scorer: str | None = None) -> str:
        """The scorer, or where it is None the metric that chose the run's checkpoint."""
        return self.results.metric if scorer is None else scorer

    def score(self, split: str, scorer: str | None = None) -> float:
        """The split's score in percent, as results.json has it. Raises DigrapError for an unknown split or scorer."""
        try:
            return self.results.score(split, scorer)
        except DigrapError as error:
            raise DigrapError(f"{self.row}, seed {self.seed}, {self.file}: {error}") from error

    @property
    def stored_scores(self) -> list[tuple[str, str]]:
        """(split, metric) of every score in results.json."""
        return [(split, metric) for split in self.results.scores for metric in self.results.metrics(split)]

    def example_scores(self, split: str, scorer: str | None = None) -> np.ndarray:
        """The scores of the split's examples in [0, 1]: float64 (n,).

        Raises DigrapError where the bundle is not whole, or gives another score than results.json.
        """
        scores, written = self.bundle.example_scores(split, self.scorer(scorer)), self.score(split, scorer)
        found, n = percent(scores), self.results.scores[split].get("n")
        if abs(found - written) > TOLERANCE or n != scores.size:
            raise DigrapError(
                f"{self.row}, seed {self.seed}, split {split}: the predictions in {self.bundle_file} give {found!r} % "
                f"of {scores.size}, {self.file} says {written!r} % of {n}; make the run again"
            )
        return scores

    def history(self) -> History | None:
        """The statistics of layers over training; None where the run has none."""
        published = self.file.with_suffix(".history.npz")
        return read_history(published) if published.exists() else history_of(RunFolder(self.file.parent))


@dataclass(frozen=True)
class Missing:
    """A printed cell without a finished run, and the command that makes it."""

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


def load_run(folder: Path) -> Run:
    """A run from its folder in outputs/, or from docs/results/<table>/runs/<hash>; its row is its method."""
    run = RunFolder(folder)
    if run.path.is_dir():
        results, files = run.results(), (run.results_file, run.predictions_file, run.path.parent)
    elif (file := run.path.with_suffix(".json")).exists():
        results, files = read_results(file, PUBLISH_AGAIN), (file, file.with_suffix(".npz"), file.parent.parent)
    else:
        raise DigrapError(f"{folder} is no finished run: {file} is missing; finish it, or give another folder")
    return Run(results.method, results.seed, (), results, *files)


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
    run = RunFolder(folder)
    results, files = run.results(), (run.results_file, run.predictions_file, run.path.parent)
    if results.smoke:
        raise DigrapError(f"{run.results_file} is that of a smoke run; take trainer.smoke=true out of the table")
    return Run(cell.row, cell.seed, cell.overrides, results, *files)


def _sample(table: Table, seed: int) -> Cell:
    """Any run of the table, for what all have in common."""
    row = next(row for row in table.rows.values() if row.start is None)
    return table.cell(row.label, seed, row.choices()[0])


def _table_command(table: Table) -> str:
    name = str(table.own_file or table.name)
    plain = load_table(name)
    seeds = [] if plain.seeds == table.seeds else [f"seed={','.join(map(str, table.seeds))}"]
    extra = table.overrides[len(plain.overrides) :]
    return shlex.join(["python", "train.py", "-m", as_typed(f"table={name}"), *extra, *seeds])
