"""Finished runs as tables read them: results, and from the prediction bundle the score of every example."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from digrap.config.compose import many_configs
from digrap.config.overrides import as_typed
from digrap.config.schema import split_kinds
from digrap.core.errors import DigrapError
from digrap.metrics.accuracy import percent
from digrap.runs.folder import RunFolder
from digrap.runs.history import History, history_of, read_history
from digrap.runs.predictions import PREDICTIONS, Bundle, read_bundle, truth_of
from digrap.runs.results import OOD, PUBLISH_AGAIN, Results, read_results
from digrap.tables.missing_runs import Plan
from digrap.tables.published import IGNORE, REUSE, Published
from digrap.tables.rates import every_rate_row
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

    @property
    def published(self) -> bool:
        """Whether its files lie in a published table, not in a run folder."""
        return self.bundle_file.name != PREDICTIONS

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
    every seed has examples of its own. `rates` are vanilla's runs with learning rates that no row prints, where the
    table asks for OOD accuracy at matched ID accuracy; `searches` the other finished runs that winners were chosen
    among: their results alone. `explained`: its texts say which winners stand at the edge of their grid and what a
    projection did, as those of tables published before did not."""

    table: Table
    splits: dict[str, str]
    own_pictures: bool
    runs: list[Run]
    missing: list[Missing]
    rates: list[Run] = field(default_factory=list)
    searches: list[Run] = field(default_factory=list)
    explained: bool = True

    @property
    def bundled(self) -> list[Run]:
        """The runs whose predictions belong to the table."""
        return [*self.runs, *self.rates]

    @property
    def every(self) -> list[Run]:
        """The printed runs, then the others."""
        return [*self.bundled, *self.searches]


def load_run(folder: Path) -> Run:
    """A run from its folder in outputs/, or from docs/results/<table>/runs/<hash>; its row is its method."""
    run = RunFolder(folder)
    if run.path.is_dir():
        results, *files = in_folder(run)
    elif (file := run.path.with_suffix(".json")).exists():
        results, *files = in_published(file)
    else:
        raise DigrapError(f"{folder} is not a finished run: {file} is missing; finish it, or give another folder")
    return Run(results.method, results.seed, (), results, *files)


def in_folder(run: RunFolder) -> tuple[Results, Path, Path, Path]:
    """Results, `file`, `bundle_file` and `labels_folder` of the Run in a folder of outputs/."""
    return run.results(), run.results_file, run.predictions_file, run.path.parent


def in_published(file: Path) -> tuple[Results, Path, Path, Path]:
    """The same of a Run in a published table, by its results' file."""
    return read_results(file, PUBLISH_AGAIN), file, file.with_suffix(".npz"), file.parent.parent


@many_configs()
def from_outputs(table: Table, outputs: Path, published: Published | None = None, rates: bool = False) -> Source:
    """A table's runs from the outputs tree, and those that are not there from the table as it was published; with
    `rates` vanilla's other ones even where the table does not ask for OOD at matched ID.

    Raises DigrapError naming every results.json that cannot be read, and where published runs were tested on other
    examples than those in outputs.
    """
    plan, done, missing = Plan(table, outputs, published), [], []
    for row, seed, cell in plan.finals():
        if cell is None:
            missing.append(Missing(row.label, seed, table_command(table, published)))
        elif not (plan.done(cell) or plan.taken(cell)):
            missing.append(Missing(row.label, seed, cell.command))
        else:
            done.append(cell)
    made = _read([*done, *(_other_rates(plan, done) if rates or table.matched else [])], plan)
    _check_same_data(made)
    runs = list(made.values())
    samples = [_sample(table, seed) for seed in table.seeds[:2]]
    own = all(cell.config.dataset.get("seed") == cell.seed for cell in samples)
    kinds = tested(split_kinds(samples[0].config))
    searches = _searches(plan, {cell.place for cell in made})
    return Source(table, kinds, own, runs[: len(done)], missing, runs[len(done) :], searches)


def _read(cells: list[Cell], plan: Plan) -> dict[Cell, Run]:
    runs, broken = {}, []
    for cell in cells:
        try:
            runs[cell] = _run(plan, cell)
        except DigrapError as error:
            broken.append(str(error))
    if broken:
        raise DigrapError("\n".join(broken))
    return runs


def _searches(plan: Plan, known: set[str]) -> list[Run]:
    """The finished runs of searches, without the known ones."""
    cells = {cell.place: cell for cell in plan.known() if cell.place not in known}
    return [_run(plan, cell) for cell in cells.values() if plan.validation(cell) is not None]


def _other_rates(plan: Plan, printed: list[Cell]) -> list[Cell]:
    """Vanilla's finished runs with the rates of its grid that are not printed, of every seed of the table."""
    known = {cell.place for cell in printed}
    cells = [
        plan.cell(row, seed, choice)
        for row in every_rate_row(plan.table)
        if row.grid
        for seed in plan.table.seeds
        for choice in row.choices()
    ]
    return [cell for cell in cells if cell.place not in known and (plan.done(cell) or plan.taken(cell))]


def tested(kinds: dict[str, str]) -> dict[str, str]:
    """The splits that a table prints: the ID test first, then near, then far OOD."""
    return {name: kind for wanted in ("id_test", *OOD) for name, kind in kinds.items() if kind == wanted}


def _run(plan: Plan, cell: Cell) -> Run:
    if plan.done(cell):
        results, *files = in_folder(RunFolder(cell.folder(plan.outputs)))
    else:
        results, *files = in_published(plan.published.file(cell.hash))
    if results.smoke:
        raise DigrapError(f"{files[0]} is from a smoke run; remove trainer.smoke=true from the table")
    return Run(cell.row, cell.seed, cell.overrides, results, *files)


def _check_same_data(runs: dict[Cell, Run]) -> None:
    """Raise DigrapError where a published run and one of outputs have the same dataset by their configs, and were
    tested on different examples: a generator or a reader of data has changed in between."""
    datasets: dict[str, dict[bool, list[Run]]] = {}
    for cell, run in runs.items():
        by_place = datasets.setdefault(OmegaConf.to_yaml(cell.config.dataset), {})
        by_place.setdefault(run.published, []).append(run)
    for by_place in datasets.values():
        if len(by_place) < 2 or len({truth_of(run.bundle_file) for run in sum(by_place.values(), [])}) == 1:
            continue
        published, own = (", ".join(run.name for run in by_place[place]) for place in (True, False))
        raise DigrapError(
            f"published runs were tested on other examples than those in outputs:\n  published: {published}\n"
            f"  outputs: {own}\nmake all of them again with one version of the data, and give published={IGNORE}"
        )


def _sample(table: Table, seed: int) -> Cell:
    """Any run of the table, for what all have in common."""
    row = next(row for row in table.rows.values() if row.start is None)
    return table.cell(row.label, seed, row.choices()[0])


def table_command(table: Table, published: Published | None = None) -> str:
    """The command that makes what is missing of a table, with the seeds and options that it was asked for."""
    name = str(table.own_file or table.name)
    plain = load_table(name)
    seeds = [] if plain.seeds == table.seeds else [f"seed={','.join(map(str, table.seeds))}"]
    extra = table.overrides[len(plain.overrides) :]
    reuse = [f"published={REUSE}"] if published else []
    return shlex.join(["python", "train.py", "-m", as_typed(f"table={name}"), *extra, *seeds, *reuse])
