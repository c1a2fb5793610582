"""From finished runs to the numbers of a table: means, spreads, differences, what is best. Reads files only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from digrap.core.errors import DigrapError, nearest
from digrap.report.gather import OOD, Missing, Run, Source, from_outputs
from digrap.report.matched_column import Matched, matched
from digrap.report.paired import ALPHA, Paired, bootstrap, paired, standard
from digrap.tables.published import Published
from digrap.tables.spec import Table

OOD_MEAN = "OOD mean"
MEAN_NAMES = {"near_ood": "near OOD", "far_ood": "far OOD"}


@dataclass(frozen=True)
class Scores:
    """The numbers of a table.

    `columns` maps a column to its kind: the tested splits, ID first, then means over them, or those that the table
    names; `parts` maps a column to the splits it is the mean of. `values` has one line per row, seed and column
    (percent).
    """

    source: Source
    columns: dict[str, str]
    parts: dict[str, list[str]]
    values: pd.DataFrame
    _pairs: dict[tuple[str, str], dict[str, Paired]] = field(default_factory=dict, repr=False)

    @property
    def table(self) -> Table:
        return self.source.table

    @property
    def missing(self) -> list[Missing]:
        return self.source.missing

    @property
    def runs(self) -> list[Run]:
        return self.source.runs

    def rows_of(self, method: str) -> set[str]:
        """The rows with a finished run of a method."""
        return {run.row for run in self.runs if run.results.method == method}

    @property
    def printed(self) -> list[str]:
        """The columns of the printed table: those that it names, else all."""
        return list(self.table.columns or self.columns)

    @property
    def identity(self) -> str | None:
        """The column of the ID test; None without one."""
        return next((name for name, kind in self.columns.items() if kind == "id_test"), None)

    @property
    def ood_mean(self) -> str | None:
        """The column of the mean over all OOD splits; None without any."""
        every = [name for name, kind in self.source.splits.items() if kind in OOD]
        means = [name for name, kind in self.columns.items() if kind == "mean"]
        return next((name for name in means if self.parts[name] == every), None)

    def cell(self, row: str, column: str) -> tuple[float, float, int]:
        """Mean, sample standard deviation (NaN for one run) and number of runs of a cell."""
        return standard(list(self._by_seed(row, column).values()))

    def difference(self, row: str, column: str) -> tuple[float, float, int]:
        """The same of the differences to the baseline, run by run of the same seed."""
        baseline = self.table.baseline_of(row)
        base = {} if baseline is None else self._by_seed(baseline, column)
        found = self._by_seed(row, column)
        return standard([value - base[seed] for seed, value in found.items() if seed in base])

    def compare(self, row: str, other: str) -> dict[str, Paired]:
        """Paired bootstrap of two rows by column, in percent, over the seeds that both have; empty without any."""
        if (row, other) not in self._pairs:
            self._pairs[row, other] = self._compare(row, other)
        return self._pairs[row, other]

    def _compare(self, row: str, other: str) -> dict[str, Paired]:
        first, second = self._runs[row], self._runs[other]
        seeds, splits = [seed for seed in first if seed in second], list(self.source.splits)
        if not seeds:
            return {}
        scorer = self.table.scorer
        found = [[example_differences(first[seed], second[seed], split, scorer) for split in splits] for seed in seeds]
        draws = 100 * bootstrap(found, shared=not self.source.own_pictures)
        result = {}
        for column, parts in self.parts.items():
            places = [splits.index(split) for split in parts]
            mean = 100 * float(np.mean([found[k][place].mean() for k in range(len(seeds)) for place in places]))
            result[column] = paired(mean, draws[:, places].mean(axis=1))
        return result

    def best(self, column: str) -> list[str]:
        """The rows to print bold, at most one of each block: the highest mean, all of its runs there and all of the
        runner-up's, and above it in the paired test."""
        blocks = dict.fromkeys(tuple(self.table.beside(row)) for row in self.table.rows)
        found = [self._best(column, rows) for rows in blocks]
        return [row for row in found if row is not None]

    def _best(self, column: str, rows: Sequence[str]) -> str | None:
        leaders = self.leaders(column, rows)
        if len(leaders) < 2 or any(self.absent(row, column) for row in leaders):
            return None
        return leaders[0] if self.compare(*leaders)[column].p < ALPHA else None

    def leaders(self, column: str, rows: Sequence[str]) -> list[str]:
        """The row with the highest mean of some rows, and the runner-up, of those that have a run."""
        means = {row: self.cell(row, column) for row in rows}
        return sorted((row for row in means if means[row][2]), key=lambda row: -means[row][0])[:2]

    def absent(self, row: str, column: str) -> int:
        """How many runs a cell lacks."""
        return len(self.table.seeds) - self.cell(row, column)[2]

    @cached_property
    def matched(self) -> dict[str, Matched]:
        """What rows keep at matched ID accuracy; see `digrap.report.matched_column`."""
        return matched(self)

    @cached_property
    def _runs(self) -> dict[str, dict[int, Run]]:
        result: dict[str, dict[int, Run]] = {row: {} for row in self.table.rows}
        for run in self.runs:
            result[run.row][run.seed] = run
        return result

    @cached_property
    def _values(self) -> dict[tuple[str, str], dict[int, float]]:
        result: dict[tuple[str, str], dict[int, float]] = {}
        for row, seed, column, value in self.values.itertuples(index=False):
            result.setdefault((row, column), {})[seed] = value
        return result

    def _by_seed(self, row: str, column: str) -> dict[int, float]:
        return self._values.get((row, column), {})


def gather(table: Table, outputs: Path, dirty: bool = False, published: Published | None = None) -> Scores:
    """The scores of every run of the table that is done in `outputs`, or else `published`."""
    return tally(from_outputs(table, outputs, published), dirty)


def tally(source: Source, dirty: bool = False) -> Scores:
    """A source's scores. Raises DigrapError, naming the runs, for results that belong in no one table; `dirty` allows
    those made with uncommitted changes."""
    for block in {row.block for row in source.table.rows.values()}:
        check_alike([run for run in source.every if source.table.rows[run.row].block == block])
    if not dirty:
        check_clean(source.every)
    for run in source.bundled:
        _check_kinds(run, source.splits)
    known = _parts(source.splits) | _own_means(source.table, source.splits)
    shown = _titles(source.table, source.splits, known)
    parts = {title: known[name] for title, name in shown.items()}
    columns = {title: source.splits.get(name, "mean") for title, name in shown.items()}
    _check_targets(source.table, columns)
    lines = []
    for run in source.runs:
        scores = {split: run.score(split, source.table.scorer) for split in source.splits}
        for column, splits in parts.items():
            lines.append((run.row, run.seed, column, standard([scores[split] for split in splits])[0]))
    values = pd.DataFrame(lines, columns=["row", "seed", "column", "value"])
    return Scores(source, columns, parts, values)


def example_differences(first: Run, second: Run, split: str, scorer: str | None = None) -> np.ndarray:
    """The score of every example in `first` minus that in `second`: float64 (n,) in [−1, 1]. Raises DigrapError where
    the two were tested on different examples."""
    scores, others = first.example_scores(split, scorer), second.example_scores(split, scorer)
    if not first.bundle.same_examples(second.bundle, split):
        raise DigrapError(
            f"split {split}: {first.name} and {second.name} have different labels or ids; they cannot be paired"
        )
    return scores - others


def _parts(splits: dict[str, str]) -> dict[str, list[str]]:
    """Column → the splits it is the mean of."""
    by_kind = {kind: [name for name, found in splits.items() if found == kind] for kind in OOD}
    result = {name: [name] for name in splits}
    if all(by_kind.values()):
        result |= {MEAN_NAMES[kind]: names for kind, names in by_kind.items()}
    if together := [name for names in by_kind.values() for name in names]:
        result[OOD_MEAN] = together
    return result


def _own_means(table: Table, splits: dict[str, str]) -> dict[str, list[str]]:
    """The means that the table itself asks for. Raises DigrapError for a split that it has not."""
    for label, names in table.means.items():
        for name in names:
            if name not in splits:
                raise DigrapError(f"table={table.name}: means.{label}: no split {name!r}; {nearest(name, splits)}")
    return {label: list(names) for label, names in table.means.items()}


def _titles(table: Table, splits: dict[str, str], known: dict[str, list[str]]) -> dict[str, str]:
    """Title → split or mean of every column: those that the table names, and the ID test and the OOD mean, to which
    others are compared; all under their own names where it names none. Raises DigrapError for what is not `known`."""
    for title, name in table.columns.items():
        if name not in known:
            raise DigrapError(f"table={table.name}: columns.{title}: no split or mean {name!r}; {nearest(name, known)}")
        if title in known and title != name:
            raise DigrapError(f"table={table.name}: columns.{title}: that is a column's own name; choose another title")
    if not table.columns:
        return {name: name for name in known}
    needed = [name for name in known if splits.get(name) == "id_test" or name == OOD_MEAN]
    return table.columns | {name: name for name in needed if name not in table.columns.values()}


def check_alike(runs: list[Run]) -> None:
    """Raise DigrapError where runs differ in what no table may mix, naming the runs of every value."""
    for key in ("schema", "metric", "protocol"):
        found = _by_value(runs, lambda run, key=key: getattr(run.results, key))
        if len(found) > 1:
            lines = [f"  {value}: {'; '.join(names)}" for value, names in sorted(found.items())]
            raise DigrapError("\n".join([f"mixed {key}: make these runs again with one {key}", *lines]))


def check_clean(runs: list[Run]) -> None:
    """Raise DigrapError for runs made with uncommitted changes, naming them. An unknown commit passes."""
    found = _by_value([run for run in runs if run.results.dirty], lambda run: run.results.commit[:10])
    if found:
        lines = [f"  {commit} with local changes: {'; '.join(names)}" for commit, names in sorted(found.items())]
        advice = "commit and make them again, or for your own experiments give dirty=allow"
        raise DigrapError("\n".join([f"runs made with uncommitted changes: {advice}", *lines]))


def _by_value(runs: list[Run], value: Callable[[Run], Any]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for run in runs:
        result.setdefault(str(value(run)), []).append(run.name)
    return result


def _check_kinds(run: Run, splits: dict[str, str]) -> None:
    for split, kind in splits.items():
        found = run.results.scores.get(split, {}).get("kind")
        if found != kind:
            raise DigrapError(f"{run.file}: split {split} is {found or 'missing'}, the table's is {kind}")


def _check_targets(table: Table, columns: dict[str, str]) -> None:
    for row, values in table.targets.items():
        for column in values:
            if column not in columns:
                raise DigrapError(
                    f"table={table.name}: targets.values.{row}: {column!r} is no column; {nearest(column, columns)}"
                )
