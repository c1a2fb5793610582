"""The end of a sweep on the terminal: its configurations, ranked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from digrap.report.sweep_summary import TITLES, Job, configurations, doubt, shared


def print_sweep(jobs: Sequence[Job]) -> None:
    """Print one line per configuration, the command of the best, and whether its lead may be chance."""
    if not jobs:
        return
    ranked = configurations(jobs)
    table = RichTable(title=" ".join(shared(ranked)) or None, title_justify="left")
    for place, title in enumerate(TITLES):
        table.add_column(title, justify="left" if place == 1 else "right")
    for place, one in enumerate(ranked, 1):
        table.add_row(str(place) if one.runs else "", *map(Text, one.texts()))
    lines = ["Ranked by ID validation; mean ± sample standard deviation over seeds, in %."]
    if any(one.smoke for one in ranked):
        lines = ["Smoke runs: ignore their scores and their order."]
    elif len(ranked) > 1 and ranked[0].runs:
        lines += [f"Best: {ranked[0].command}", *filter(None, [doubt(ranked)])]
    console = Console(width=None if sys.stdout.isatty() else 150, markup=False)
    console.print(table, *lines, sep="\n", highlight=False, soft_wrap=True)
