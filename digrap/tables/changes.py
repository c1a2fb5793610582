"""What a command line changes of a table: options for every run beside `table=…`."""

from __future__ import annotations

from collections.abc import Iterable

from digrap.core.errors import DigrapError
from digrap.tables.spec import Table

# Where and how runs are made, not what they are.
WHERE = ("device", "data_root", "logger", "trainer.devices", "trainer.sharding", "trainer.workers", "trainer.profile")


def set_by_rows(table: Table) -> set[str]:
    """The keys that rows or their grids give values to."""
    given = [override for row in table.rows.values() for override in (*row.overrides, *row.grid)]
    return {override.lstrip("+").split("=")[0] for override in given}


def changes_runs(table: Table, extra: Iterable[str]) -> bool:
    """Whether the overrides `extra` make the table's runs others than its file describes. Raises DigrapError for one
    that the rows set themselves."""
    keys, own = [argument.lstrip("+").split("=")[0] for argument in extra], set_by_rows(table)
    for key in keys:
        if key in own:
            raise DigrapError(f"{key}: the rows of table={table.name} set it themselves; change it in its file")
    return any(key not in WHERE for key in keys)
