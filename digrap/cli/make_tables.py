"""Render a table and its figures from run folders.

    python scripts/make_tables.py table=demo [seeds=0,1 out=DIR outputs=DIR scorer=NAME publish=true dirty=allow]

Prints the table, how much each row projected, and a warning if a winner is at the edge of its grid; writes
<out>/<table>.md, .tex, .csv and the pictures _id_ood.png and _omega.png. scorer=NAME prints another score than the one
that chose the checkpoints. publish=true also writes docs/results/<table>/ (publish=DIR DIR/<table>/), from which
`python scripts/verify.py` computes every number again; runs that are not in outputs are taken from what is published
there already, and published=ignore takes none. published=reuse takes them without publishing, published=DIR from
DIR/<table>/. Runs made with uncommitted changes are refused;
dirty=allow accepts them, for experiments of your own. Give the options of the sweep (backbone.model=/models/pali) here
too: they determine which runs belong to the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from digrap.cli.arguments import GROUPS, parse_seeds, with_overrides
from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically, write_text
from digrap.core.paths import OUTPUTS, PUBLISHED
from digrap.report import edges, figures, render
from digrap.report.findings import findings
from digrap.report.publish import publish
from digrap.report.scores import Scores, gather
from digrap.tables.published import MANIFEST, Published, published_table
from digrap.tables.spec import Table, load_table

DEFAULTS = {
    "table": "demo", "seeds": None, "out": str(OUTPUTS / "tables"), "outputs": str(OUTPUTS), "publish": None,
    "published": None, "dirty": "refuse", "scorer": None,
}  # fmt: skip


def show(scores: Scores) -> None:
    """Print the table and its notes."""
    grid = RichTable()
    for position, title in enumerate(render.header(scores)):
        grid.add_column(escape(title), justify="right" if position else "left")
    for row in render.body(scores):
        grid.add_row(*(Text(cell, style="bold" if isinstance(cell, render.Bold) else "") for cell in row))
    console = Console()
    if not sys.stdout.isatty():  # no line of a file need be broken
        console.width = max(150, Measurement.get(console, console.options.update(max_width=1000), grid).maximum)
    console.print(f"[bold]{escape(render.title(scores))}[/bold]", grid, sep="\n", highlight=False)
    console.print(*render.notes(scores), *findings(scores), sep="\n", highlight=False, markup=False)
    if warning := edges.warning(scores):
        print(f"warning: {warning}", file=sys.stderr)
    if scores.missing:
        print("These commands run what is missing:", *render.commands(scores), sep="\n    ")


def main() -> None:
    """Gather, print, write."""
    options, extra = with_overrides(sys.argv[1:], DEFAULTS, GROUPS)
    if options.dirty not in ("refuse", "allow"):
        raise DigrapError(f"dirty={options.dirty}: give refuse or allow")
    table, out = load_table(options.table, parse_seeds(options.seeds), tuple(extra), options.scorer), Path(options.out)
    target = _target(options.publish)
    published = _published(options.published, target, table)
    scores = gather(table, Path(options.outputs), options.dirty == "allow", published)
    show(scores)
    if reused := sum(run.published for run in scores.runs):
        print(f"{reused} of {len(scores.runs)} runs are taken from {published.place} as published")
    pictures = {f"{table.name}_{name}.png": figures.as_png(figure) for name, figure in figures.draw(scores).items()}
    texts = render.files(scores)
    for name, text in texts.items():
        write_text(out / name, text)
    for name, data in pictures.items():
        write_atomically(out / name, lambda file, data=data: file.write(data))
    print("written:", *(out / name for name in (*texts, *pictures)), sep="\n  ")
    if target is not None:
        place, size = publish(scores, pictures, target)
        print(f"published: {place}, {len(scores.runs)} runs, {size / 1e6:.2f} MB; {len(scores.missing)} runs missing")


def _target(publish: str | None) -> Path | None:
    """The folder to publish into."""
    return {None: None, "false": None, "true": PUBLISHED}.get(publish, Path(str(publish)))


def _published(value: str | None, target: Path | None, table: Table) -> Published | None:
    """The table that runs are taken from: where nothing else is said, the one that is published again."""
    if value is None and target is not None and (target / table.name / MANIFEST).exists():
        return Published(target / table.name)
    return published_table(value, table)
