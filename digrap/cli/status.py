"""Show the state of a table's runs: `python scripts/status.py table=mini [seeds=0,1 outputs=DIR published=reuse]`.

Give the options of the sweep (backbone.model=/models/pali) here too. With Slurm, the state of each run's last job is
shown beside the run's own. With published=reuse, runs that are in docs/results/<table> count as published.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from digrap.cli.arguments import GROUPS, parse_seeds, with_overrides
from digrap.core.paths import OUTPUTS
from digrap.tables import run_states as status
from digrap.tables.missing_runs import Plan
from digrap.tables.published import published_table
from digrap.tables.slurm_jobs import job_states
from digrap.tables.spec import load_table
from digrap.tables.submit import plan_name

COLOURS = {
    "done": "green",
    "published": "blue",
    "running": "cyan",
    "failed": "red",
    "stopped": "yellow",
    "pending": "dim",
}


def main() -> None:
    """Print one line per run and how many are in each state."""
    defaults = {"table": "demo", "seeds": None, "outputs": str(OUTPUTS), "published": None}
    options, extra = with_overrides(sys.argv[1:], defaults, GROUPS)
    table = load_table(options.table, parse_seeds(options.seeds), tuple(extra))
    plan = Plan(table, Path(options.outputs), published_table(options.published, table))
    runs = status.table_status(plan)
    jobs = job_states(plan.outputs, [run.cell.place for run in runs])
    grid = RichTable("row", "hyper-parameters", "seed", "run", "state", *(["Slurm"] if jobs else []), "")
    for run in runs:
        name, cell = run.state.name, run.cell
        state = f"[{COLOURS[name]}]{'' if run.state.sure else 'probably '}{name}[/]"
        texts = (cell.row, status.chosen(plan, cell), str(cell.seed), cell.place)
        job = [" ".join(reversed(jobs.get(cell.place, ())))] if jobs else []
        grid.add_row(*map(escape, texts), state, *job, escape(run.note))
    console = Console(width=None if sys.stdout.isatty() else 150)
    planner = " ".join(reversed(jobs.get(plan_name(plan), ())))
    below = [status.waiting(plan), planner and f"the job that plans the next stage: {planner}"]
    console.print(grid, status.summary(runs), *filter(None, below), sep="\n", highlight=False)
