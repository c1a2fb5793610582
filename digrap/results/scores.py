"""From run folders to the numbers of a table. Reads files only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from digrap.config import split_kinds
from digrap.errors import DigrapError
from digrap.results.spec import Cell, Table

SCHEMA = 1
OOD = ("near_ood", "far_ood")
OOD_MEAN = "OOD mean"


@dataclass(frozen=True)
class Scores:
    """What the runs of a table gave.

    `columns` maps a column to its kind, the ID test split first and the mean over the OOD splits last. `values` has
    one line a row, seed and column (percent); `missing` are the runs that are not there; `runs` the results read.
    """

    table: Table
    columns: dict[str, str]
    values: pd.DataFrame
    missing: list[Cell]
    runs: list[dict[str, Any]]

    def cell(self, row: str, column: str) -> tuple[float, float, int]:
        """Mean, sample standard deviation (NaN for one run) and number of runs of a cell."""
        return _summary(self._by_seed(row, column))

    def difference(self, row: str, column: str) -> tuple[float, float, int]:
        """The same of the differences to the baseline, run by run of the same seed."""
        if self.table.baseline is None:
            return _summary(pd.Series(dtype=float))
        return _summary((self._by_seed(row, column) - self._by_seed(self.table.baseline, column)).dropna())

    def _by_seed(self, row: str, column: str) -> pd.Series:
        found = self.values[(self.values["row"] == row) & (self.values["column"] == column)]
        return found.set_index("seed")["value"]


def gather(table: Table, outputs: Path) -> Scores:
    """Read the results of every run of the table that is done.

    Raises DigrapError for a damaged results.json or one of another schema.
    """
    columns = _columns(table.all_cells()[0])
    lines, missing, runs = [], [], []
    for cell in table.all_cells():
        path = cell.folder(outputs) / "results.json"
        if not path.exists():
            missing.append(cell)
            continue
        result = _read(path)
        runs.append(result)
        scores = {split: result["scores"][split][result["metric"]] for split in columns if split != OOD_MEAN}
        ood = [value for split, value in scores.items() if columns[split] in OOD]
        if ood:
            scores[OOD_MEAN] = sum(ood) / len(ood)
        lines += [(cell.row, cell.seed, column, value) for column, value in scores.items()]
    values = pd.DataFrame(lines, columns=["row", "seed", "column", "value"])
    return Scores(table, columns, values, missing, runs)


def _columns(cell: Cell) -> dict[str, str]:
    """Tested splits by kind, from the dataset's config: nothing else knows which are out of distribution."""
    splits = split_kinds(cell.config)
    tested = {name: kind for wanted in ("id_test", *OOD) for name, kind in splits.items() if kind == wanted}
    return tested | ({OOD_MEAN: "mean"} if any(kind in OOD for kind in tested.values()) else {})


def _read(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DigrapError(f"{path} is damaged ({error}); delete it and make the run again") from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        found = result.get("schema") if isinstance(result, dict) else None
        raise DigrapError(f"{path} has schema {found}, this version reads {SCHEMA}; make the run again")
    return result


def _summary(values: pd.Series) -> tuple[float, float, int]:
    return float(values.mean()), float(values.std(ddof=1)), len(values)


def omega_history(cell: Cell, outputs: Path) -> pd.DataFrame:
    """ω over a run: columns step, tensor, omega, removed, conflict; empty where the run logs none."""
    path = cell.folder(outputs) / "metrics.jsonl"
    lines = []
    if path.exists():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise DigrapError(f"{path}, line {number}, is damaged ({error}); make the run again") from error
            if record["event"] == "omega":
                lines += [
                    {"step": record["step"], "tensor": name, **entry} for name, entry in record["tensors"].items()
                ]
    return pd.DataFrame(lines, columns=["step", "tensor", "omega", "removed", "conflict"])
