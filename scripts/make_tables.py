"""Tables and figures from run folders: `python scripts/make_tables.py table=demo [seeds=0,1 out=DIR outputs=DIR]`.

Prints the table; writes <out>/<table>.md, .tex, .csv and the pictures _id_ood.png and _omega.png. scorer=NAME prints
another score than the one that chose the checkpoints. publish=docs/results also writes docs/results/<table>/, from
which `python scripts/verify.py` makes every number again. Runs made with uncommitted changes are refused; dirty=allow
prints them, for your own experiments.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console  # noqa: E402
from rich.markup import escape  # noqa: E402
from rich.table import Table as RichTable  # noqa: E402
from rich.text import Text  # noqa: E402

from digrap.cli.door import bare_keys, door  # noqa: E402
from digrap.core.errors import DigrapError  # noqa: E402
from digrap.core.files import write_atomically, write_text  # noqa: E402
from digrap.core.paths import OUTPUTS  # noqa: E402
from digrap.report import figures, render  # noqa: E402
from digrap.report.publish import publish  # noqa: E402
from digrap.report.scores import Scores, gather  # noqa: E402
from digrap.tables.spec import load_table  # noqa: E402

DEFAULTS = {
    "table": "demo", "seeds": None, "out": str(OUTPUTS / "tables"), "outputs": str(OUTPUTS), "publish": None,
    "dirty": "refuse", "scorer": None,
}  # fmt: skip


def show(scores: Scores) -> None:
    """Print the table and its notes."""
    grid = RichTable()
    for position, title in enumerate(render.header(scores)):
        grid.add_column(escape(title), justify="right" if position else "left")
    for row in render.body(scores):
        grid.add_row(*(Text(cell, style="bold" if isinstance(cell, render.Bold) else "") for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(f"[bold]{escape(render.title(scores))}[/bold]", grid, sep="\n", highlight=False)
    console.print(*render.notes(scores), sep="\n", highlight=False, markup=False)
    if scores.missing:
        print("These commands make what is missing:", *render.commands(scores), sep="\n    ")


def main() -> None:
    """Gather, print, write."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    try:
        seeds = None if options.seeds is None else [int(seed) for seed in str(options.seeds).split(",")]
    except ValueError:
        raise DigrapError(f"seeds={options.seeds}: give whole numbers, as in seeds=0,1,2") from None
    if options.dirty not in ("refuse", "allow"):
        raise DigrapError(f"dirty={options.dirty}: give refuse or allow")
    table, out = load_table(options.table, seeds, scorer=options.scorer), Path(options.out)
    scores = gather(table, Path(options.outputs), dirty=options.dirty == "allow")
    show(scores)
    pictures = {f"{table.name}_{name}.png": figures.as_png(figure) for name, figure in figures.draw(scores).items()}
    for name, text in render.files(scores).items():
        write_text(out / name, text)
    for name, data in pictures.items():
        write_atomically(out / name, lambda file, data=data: file.write(data))
    print("written:", *(out / name for name in (*render.files(scores), *pictures)), sep="\n  ")
    if options.publish is not None:
        place, size = publish(scores, pictures, Path(options.publish))
        print(f"published: {place}, {len(scores.runs)} runs, {size / 1e6:.2f} MB; {len(scores.missing)} runs missing")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
