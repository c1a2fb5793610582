"""List runs: `python scripts/runs.py [dataset=minivqa method=digrap state=done seed=0 sort=val last=50 outputs=DIR]`.

One line per run, the newest last: its folder, method, overrides (values that differ from the defaults), seed, state,
score on ID validation and on the ID test, mean over the OOD splits, and age. sort=age, val, id or ood puts the best
last; last=all shows every run. Every command takes a run by its folder, by the beginning of its hash, or as `latest`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from digrap.cli.arguments import as_number, bare_keys
from digrap.core.counted import counted
from digrap.core.errors import DigrapError, nearest
from digrap.core.paths import OUTPUTS
from digrap.core.progress import track
from digrap.report.run_list import TITLES, Listed, listed
from digrap.tables.run_states import STATES

DEFAULTS = {
    "dataset": None, "method": None, "state": None, "seed": None, "sort": "age", "last": "50", "outputs": str(OUTPUTS),
}  # fmt: skip
SORTS = {
    "age": lambda run: run.changed,
    "val": lambda run: run.headline.validation,
    "id": lambda run: run.headline.identity,
    "ood": lambda run: run.headline.ood,
}
TEXT_COLUMNS = 5


def main() -> None:
    """Read the folders, filter, sort, print."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    last = _check(options)
    folders = [path for path in Path(options.outputs).glob(f"{options.dataset or '*'}/*") if path.is_dir()]
    found = [run for folder in track(folders, "reading", unit="runs") if (run := listed(folder)) is not None]
    kept = [run for run in found if _wanted(run, options)]
    if not kept:
        some = f"none of {len(found)} runs matches" if found else "there is no run"
        raise DigrapError(f"{options.outputs}: {some}; change the filters, or give outputs=DIR for another folder")
    scored = [run for run in kept if options.sort == "age" or run.headline is not None]
    ordered = [run for run in kept if run not in scored] + sorted(scored, key=SORTS[options.sort])
    _print(ordered[-last:] if last else ordered, len(ordered))


def _check(options: DictConfig) -> int:
    """How many runs are shown, 0 for all. Raises DigrapError for a value that none has."""
    if options.sort not in SORTS:
        raise DigrapError(f"sort={options.sort}: {nearest(options.sort, SORTS)}")
    if options.state is not None and options.state not in (*STATES, "damaged"):
        raise DigrapError(f"state={options.state}: {nearest(options.state, (*STATES, 'damaged'))}")
    if options.last == "all":
        return 0
    if not isinstance(last := as_number(options.last), int) or last < 1:
        raise DigrapError(f"last={options.last}: give a whole number ≥ 1, or all")
    return last


def _wanted(run: Listed, options: DictConfig) -> bool:
    given = {"method": (run.method, run.choice), "state": (run.state,), "seed": (str(run.seed),)}
    return all(options[key] in (None, *values) for key, values in given.items())


def _print(runs: list[Listed], total: int) -> None:
    table, now = RichTable(), time.time()
    for place, title in enumerate(TITLES):
        table.add_column(title, justify="left" if place < TEXT_COLUMNS else "right")
    for run in runs:
        table.add_row(*map(Text, run.texts(now)))
    rest = (
        f"the last {len(runs)} of {total} runs; last=all shows all of them"
        if len(runs) < total
        else counted(total, "run")
    )
    Console(width=None if sys.stdout.isatty() else 160).print(table, rest, sep="\n", highlight=False)
