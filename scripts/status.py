"""Where a table's runs stand, from their folders: `python scripts/status.py table=mini [seeds=0,1 outputs=DIR]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console  # noqa: E402
from rich.markup import escape  # noqa: E402
from rich.table import Table as RichTable  # noqa: E402

from digrap.cli.door import bare_keys, door  # noqa: E402
from digrap.core.errors import DigrapError  # noqa: E402
from digrap.core.paths import OUTPUTS  # noqa: E402
from digrap.tables import status  # noqa: E402
from digrap.tables.plan import Plan  # noqa: E402
from digrap.tables.spec import load_table  # noqa: E402

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "pending": "dim"}


def main() -> None:
    """Print a line a run and their sum."""
    options = bare_keys(sys.argv[1:], {"table": "demo", "seeds": None, "outputs": str(OUTPUTS)})
    try:
        seeds = None if options.seeds is None else [int(seed) for seed in str(options.seeds).split(",")]
    except ValueError:
        raise DigrapError(f"seeds={options.seeds}: give whole numbers, as in seeds=0,1,2") from None
    plan = Plan(load_table(options.table, seeds), Path(options.outputs))
    runs = status.table_status(plan)
    grid = RichTable("row", "chosen", "seed", "run", "state", "")
    for run in runs:
        name, cell = run.state.name, run.cell
        state = f"[{COLOURS[name]}]{'' if run.state.sure else 'probably '}{name}[/]"
        texts = (cell.row, status.chosen(plan, cell), str(cell.seed), cell.place)
        grid.add_row(*map(escape, texts), state, escape(run.note))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(grid, status.summary(runs), *filter(None, [status.waiting(plan)]), sep="\n", highlight=False)


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
