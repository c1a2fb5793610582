"""What a command line changes of a table: options for every run beside `table=…`."""

from __future__ import annotations

from collections.abc import Iterable

from digrap.core.errors import DigrapError
from digrap.tables.spec import Table

# Where and how runs are made, not what they are.
WHERE = ("device", "data_root", "logger", "trainer.devices", "trainer.sharding", "trainer.workers", "trainer.profile")


def changes_runs(table: Table, extra: Iterable[str]) -> bool:
    """Whether the overrides `extra` make the table's runs others than its file describes. Raises DigrapError for one
    that the rows set themselves."""
    set_by_rows = {
        override.lstrip("+").split("=")[0] for row in table.rows.values() for override in (*row.overrides, *row.grid)
    }
    keys = [argument.lstrip("+").split("=")[0] for argument in extra]
    for key in keys:
        if key in set_by_rows:
            raise DigrapError(f"{key}: the rows of table={table.name} set it themselves; change it in its file")
    return any(key not in WHERE for key in keys)
