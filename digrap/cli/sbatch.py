"""Submit a table's missing runs to Slurm and exit: `python scripts/sbatch.py table=3 [cluster=NAME dry_run=true]`.

The runs that wait for no other form one array job; a small job after it plans and submits the next stage, until nothing
is left. Commands, scripts and outputs are in outputs/slurm/<table>-<time>/. cluster=NAME reads
configs/cluster/NAME.yaml, cluster.<key>=… changes one setting; seeds=0,1, outputs=DIR and published=reuse work as for
status.py; any other option (data_root=/data) goes to every run. A killed run is submitted again, up to three times in
total; one that failed with an error or was cancelled is named at the end, and submitted again when you run this command
again.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from omegaconf import DictConfig

from digrap.cli.arguments import GROUPS, bare_keys, check_flags, parse_seeds
from digrap.config.compose import compose_cluster
from digrap.config.overrides import as_typed
from digrap.core.errors import DigrapError
from digrap.core.paths import OUTPUTS
from digrap.tables.array_job import array_lines
from digrap.tables.changes import changes_runs
from digrap.tables.cost import dry_run
from digrap.tables.missing_runs import Plan
from digrap.tables.published import published_table
from digrap.tables.run_states import summary, table_status, waiting
from digrap.tables.spec import load_table
from digrap.tables.submit import look, submit_stage
from digrap.tables.winners import write_winners

DEFAULTS = {
    "table": "demo", "seeds": None, "outputs": str(OUTPUTS), "published": None, "dry_run": False, "since": 0.0,
}  # fmt: skip


def main() -> None:
    """Submit the next stage and say what was submitted; at the table's end, say what it lacks."""
    options, settings, extra = _arguments(sys.argv[1:])
    cluster = compose_cluster(settings)
    table = load_table(options.table, parse_seeds(options.seeds), tuple(extra))
    changed = changes_runs(table, extra) or options.seeds is not None
    plan = Plan(table, Path(options.outputs).absolute(), published_table(options.published, table))
    since = options.since or time.time()
    if options.dry_run:
        print(dry_run(plan), array_lines(cluster, len(look(plan, since).ready)), sep="\n")
        return
    stage, jobs = submit_stage(plan, cluster, _again(options, plan, settings, extra, since), since)
    print(f"table={table.name}: {summary(table_status(plan))}", waiting(plan), sep="\n", flush=True)
    if jobs:
        *arrays, planner = jobs
        submitted = f"{len(stage.ready)} runs submitted" + (f" ({', '.join(arrays)})" if arrays else "")
        print(f"{submitted}, {len(stage.queued)} were in the queue; job {planner} plans the next stage")
    elif stage.queued:
        print(f"{len(stage.queued)} runs are in the queue, and job {stage.planner} plans the next stage")
    else:
        _end(plan, changed, stage.left)
        print(f"all runs are done: {_make_tables(options, extra)}")


def _arguments(arguments: list[str]) -> tuple[DictConfig, list[str], list[str]]:
    """The command's own options, those of `cluster`, and those for every run."""
    own = [argument for argument in arguments if argument.partition("=")[0] in DEFAULTS]
    settings = [argument for argument in arguments if argument.startswith(("cluster=", "cluster."))]
    rest = [argument for argument in arguments if argument not in (*own, *settings)]
    options = bare_keys(own, DEFAULTS)
    check_flags(options, "dry_run")
    if not isinstance(options.since, float):
        raise DigrapError(f"since={options.since}: give seconds since 1970, or leave it out")
    return options, list(map(as_typed, settings)), list(map(as_typed, rest))


def _again(options: DictConfig, plan: Plan, settings: list[str], extra: list[str], since: float) -> list[str]:
    """This command as the planning job calls it, in the repository."""
    table = str(Path(options.table).absolute()) if str(options.table).endswith(".yaml") else options.table
    own = [f"table={table}", f"outputs={plan.outputs}", f"since={since:.3f}"]
    own += [f"published={plan.published.place.parent.absolute()}"] if plan.published else []
    seeds = [f"seeds={options.seeds}"] if options.seeds is not None else []
    return [sys.executable, "scripts/sbatch.py", *own, *seeds, *settings, *extra]


def _make_tables(options: DictConfig, extra: list[str]) -> str:
    """The command that prints this table."""
    own = [f"{key}={options[key]}" for key in ("seeds", "outputs", "published") if options[key] != DEFAULTS[key]]
    which = [option for option in extra if option.lstrip("+~").startswith(GROUPS)]  # the others change nothing of it
    return shlex.join(["python", "scripts/make_tables.py", f"table={options.table}", *own, *which])


def _end(plan: Plan, changed: bool, left: list[tuple]) -> None:
    """Nothing is in the queue: keep the searches' winners. Raises DigrapError naming each run that is missing still."""
    if not changed and plan.table.searches:
        for path in write_winners(plan):
            print(f"winner: {path}")
    if left:
        lines = [f"  {cell.row}, seed {cell.seed}: {cell.folder(plan.outputs)}\n    {reason}" for cell, reason in left]
        missing = f"table={plan.table.name}: {len(left)} runs are missing; their folders are kept:"
        raise DigrapError("\n".join([missing, *lines]))
