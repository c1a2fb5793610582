"""Vanilla fine-tuning with several learning rates: the rows and grid points of a table that other rows are held to."""

from __future__ import annotations

from digrap.tables.spec import Row, Table

RATE = "trainer.base.lr"
VANILLA = "optim=vanilla"


def rate_rows(table: Table, row: str) -> list[Row]:
    """The rows of `row`'s block that are vanilla fine-tuning as its baseline is, but for the learning rate; none where
    the baseline is not vanilla fine-tuning."""
    base = table.baseline_of(row)
    if base is None or VANILLA not in table.rows[base].overrides:
        return []
    own = _without_rate(table.rows[base])
    return [table.rows[label] for label in table.beside(row) if _without_rate(table.rows[label]) == own]


def every_rate_row(table: Table) -> list[Row]:
    """The same of all blocks, each once."""
    return list({row.label: row for label in table.rows for row in rate_rows(table, label)}.values())


def point_name(row: Row, overrides: tuple[str, ...]) -> str:
    """A run of such a row as its learning rate and what else the grid has: `1e-3`, `0.001 weight_decay 0.0`; the label
    where the row has neither."""
    given = dict(override.lstrip("+").split("=", 1) for override in overrides)
    others = [f"{key.rpartition('.')[2]} {given[key]}" for key in row.grid if key != RATE]
    return " ".join([*([given[RATE]] if RATE in given else []), *others]) or row.label


def _without_rate(row: Row) -> tuple[set[str], str | None]:
    return {override for override in row.overrides if not override.startswith(f"{RATE}=")}, row.start
