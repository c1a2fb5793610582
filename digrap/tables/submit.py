"""The next stage of a table on Slurm: what is ready becomes array jobs, and a small job after them that plans again."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from digrap.config.cluster import Cluster
from digrap.core.errors import DigrapError
from digrap.runs.folder import RunFolder
from digrap.runs.lock import held, owner_of
from digrap.tables.array_job import LARGEST, command, submit, write_array, write_plan
from digrap.tables.missing_runs import Plan
from digrap.tables.slurm_jobs import ACTIVE, Ledger, Submission, slurm_is_here, states
from digrap.tables.spec import Cell

TRIES = 3  # jobs of a run that ends without a result and without an error of its own, from one call of the command
SETTLES = 2  # seconds; the clocks of two machines differ


@dataclass
class Stage:
    """The missing runs that wait for no other: `ready` to be submitted; `queued`, {run: its job} in Slurm's queue;
    `left`, which are not submitted again, each with the reason. `planner` is the job that plans again already."""

    ready: list[Cell] = field(default_factory=list)
    queued: dict[str, str] = field(default_factory=dict)
    left: list[tuple[Cell, str]] = field(default_factory=list)
    planner: str | None = None


def plan_name(plan: Plan) -> str:
    """The name under which the ledger has the jobs that plan."""
    return f"plan:{plan.table.name}"


def look(plan: Plan, since: float) -> Stage:
    """The stage as it stands; `since` (seconds since 1970) is when the user asked for the table. Raises DigrapError
    where Slurm does not answer."""
    made: dict[str, list[Submission]] = {}
    for submission in Ledger(plan.outputs).submissions():
        made.setdefault(submission.run, []).append(submission)
    ready = plan.ready()
    asked = [made[run][-1].job for run in (*(cell.place for cell in ready), plan_name(plan)) if run in made]
    asked += filter(None, map(_owning_job, (cell.folder(plan.outputs) for cell in ready)))
    found = (states(asked) if slurm_is_here() else {}) if asked else {}
    if found is None:
        raise DigrapError("squeue does not answer: try again when Slurm is back")
    stage = Stage()
    for cell in ready:
        mine = made.get(cell.place, [])
        state = found.get(mine[-1].job, "") if mine else ""
        tries = sum(submission.time >= since for submission in mine)
        if state in ACTIVE:
            stage.queued[cell.place] = mine[-1].job
        elif reason := _why_not(cell.folder(plan.outputs), state, tries, since, found):
            stage.left.append((cell, reason))
        else:
            stage.ready.append(cell)
    if plan_name(plan) in made:
        job = made[plan_name(plan)][-1].job
        stage.planner = job if found.get(job) in ACTIVE and job != os.environ.get("SLURM_JOB_ID") else None
    return stage


def _owning_job(folder: Path) -> str | None:
    """The job that has written itself down as the holder of a run's folder."""
    owner = owner_of(RunFolder(folder))
    return owner and owner[0].job


def _why_not(folder: Path, state: str, tries: int, since: float, found: dict[str, str]) -> str | None:
    """Why a run that is not in the queue is not submitted; None where it is to be. `found` has the states of jobs: a
    holder whose job has ended gives no sign of life any more, long before that is noticed on another machine."""
    run = RunFolder(folder)
    job = _owning_job(folder)
    if held(run) and (job is None or found.get(job) in ACTIVE):
        return "another process is making it"
    if not tries:
        return None
    if state == "CANCELLED":
        return "was cancelled"
    if (error := run.error()) is not None and run.error_file.stat().st_mtime >= since - SETTLES:
        return f"failed: {error.strip().splitlines()[-1]}" if error.strip() else "failed"
    return f"{tries} jobs ended without a result, the last {state}" if tries >= TRIES else None


def submit_stage(plan: Plan, cluster: Cluster, words: Sequence[str], since: float) -> tuple[Stage, list[str]]:
    """Submit what is ready, and the job that calls `words` when all of it has ended. Returns the stage and the ids of
    the submitted jobs. Raises DigrapError with what sbatch says."""
    ledger, name = Ledger(plan.outputs), plan.table.name
    with ledger.lock():  # of two calls at once, the second sees the first one's jobs
        stage, jobs = look(plan, since), []
        folder = ledger.folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        for first in range(0, len(stage.ready), LARGEST):
            part = stage.ready[first : first + LARGEST]
            script = write_array(folder, f"{name}-{first}", [command(cell, plan.outputs) for cell in part], cluster)
            jobs.append(submit(script))
            ledger.note((f"{jobs[-1]}_{task}", cell.place) for task, cell in enumerate(part))
        after = [*dict.fromkeys(job.partition("_")[0] for job in (*stage.queued.values(), *jobs))]
        if jobs or (after and stage.planner is None):
            jobs.append(submit(write_plan(folder, name, words, cluster), after))
            ledger.note([(jobs[-1], plan_name(plan))])
    return stage, jobs
