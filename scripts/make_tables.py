"""Tables and figures from run folders: `python scripts/make_tables.py table=demo [seeds=0,1 out=DIR outputs=DIR]`.

Prints the table; writes <out>/<table>.md, .tex, .csv and the pictures _id_ood.png and _omega.png.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console  # noqa: E402
from rich.table import Table as RichTable  # noqa: E402

from digrap.cli import bare_keys, door  # noqa: E402
from digrap.errors import DigrapError  # noqa: E402
from digrap.files import write_text  # noqa: E402
from digrap.paths import OUTPUTS  # noqa: E402
from digrap.results import figures, render  # noqa: E402
from digrap.results.scores import Scores, gather, omega_history  # noqa: E402
from digrap.results.spec import load_table  # noqa: E402


def show(scores: Scores) -> None:
    """Print the table and its notes."""
    grid = RichTable()
    for position, title in enumerate(render.header(scores)):
        grid.add_column(title, justify="right" if position else "left")
    for row in render.body(scores):
        grid.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(f"[bold]{scores.table.title}[/bold]", grid, *render.notes(scores), sep="\n", highlight=False)


def main() -> None:
    """Gather, print, write."""
    options = bare_keys(
        sys.argv[1:], {"table": "demo", "seeds": None, "out": str(OUTPUTS / "tables"), "outputs": str(OUTPUTS)}
    )
    try:
        seeds = None if options.seeds is None else [int(seed) for seed in str(options.seeds).split(",")]
    except ValueError:
        raise DigrapError(f"seeds={options.seeds}: give whole numbers, as in seeds=0,1,2") from None
    table, out, outputs = load_table(options.table, seeds), Path(options.out), Path(options.outputs)
    scores = gather(table, outputs)
    show(scores)
    written = [out / f"{table.name}.{ending}" for ending in ("md", "tex", "csv")]
    for path, make in zip(written, (render.markdown, render.latex, render.as_csv), strict=True):
        write_text(path, make(scores))
    histories = {row: [omega_history(cell, outputs) for cell in table.cells(row)] for row in table.rows}
    omega = figures.omega_over_training(histories, table.title)
    for figure, name in ((figures.id_against_ood(scores), "id_ood"), (omega, "omega")):
        if figure is not None:
            written.append(figures.save(figure, out / f"{table.name}_{name}.png"))
    print("written:", *written, sep="\n  ")


if __name__ == "__main__":
    raise SystemExit(door(main))
