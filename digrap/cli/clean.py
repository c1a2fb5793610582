"""List the run folders in outputs/ that no table needs: `python scripts/clean.py [outputs=DIR delete=true]`.

delete=true deletes them."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from digrap.cli.arguments import bare_keys, check_flags
from digrap.core.paths import CONFIGS, OUTPUTS
from digrap.core.progress import track
from digrap.tables import clean
from digrap.tables.spec import load_table


def main() -> None:
    """List, and with delete=true delete."""
    options = bare_keys(sys.argv[1:], {"delete": False, "outputs": str(OUTPUTS)})
    check_flags(options, "delete")
    cells = clean.every_cell(load_table(path.stem) for path in sorted((CONFIGS / "tables").glob("*.yaml")))
    found = clean.find(Path(options.outputs), track(cells, "reading tables", unit="runs"))
    console = Console(width=None if sys.stdout.isatty() else 150)
    if not found:
        console.print("nothing to remove: every run folder belongs to a table in configs/tables")
        return
    grid = RichTable("in outputs", "what it is", "size", "kept because")
    for item in found:
        grid.add_row(item.place, escape(item.what), clean.in_megabytes(item.size), escape(item.kept))
    console.print(grid, highlight=False)
    if not options.delete:
        total = sum(item.size for item in found if not item.kept)
        console.print(f"{clean.in_megabytes(total)} in total; delete=true removes what is not kept", highlight=False)
        return
    deleted, kept = clean.delete(found)
    freed = clean.in_megabytes(sum(item.size for item in deleted))
    console.print(f"freed {freed}: {len(deleted)} deleted, {len(kept)} kept", highlight=False)
