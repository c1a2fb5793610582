"""The states of a table's runs. Reads run folders only."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from digrap.runs.folder import KEEP, RunFolder
from digrap.runs.lock import held, owner_of
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import Cell

STATES = ("done", "published", "running", "failed", "stopped", "pending")
RECENT = 600  # seconds; a lock that another machine holds may not be visible here, what it writes is
ERROR_LINES = 3


@dataclass(frozen=True)
class State:
    """The state of one run folder. `sure` is False where only fresh files say that it is running."""

    name: str
    sure: bool = True


@dataclass(frozen=True)
class Progress:
    """The optimizer step a run is at, of how many, and steps a second (validations included) where they are known."""

    step: int | None = None
    total: int | None = None
    rate: float | None = None

    @property
    def left(self) -> float | None:
        """Seconds until the last step."""
        return None if not self.rate or self.total is None else (self.total - self.step) / self.rate


@dataclass(frozen=True)
class Status:
    """One run of a table with its state and a note on it."""

    cell: Cell
    state: State
    note: str = ""


def state_of(folder: Path) -> State:
    """done, running, failed, stopped (it can be resumed) or pending."""
    run = RunFolder(folder)
    if run.done():
        return State("done")
    if held(run):
        return State("running")
    if run.error_file.exists():
        return State("failed")
    if not run.facts_file.exists():
        return State("pending")
    # On this machine the lock would have been seen, and whoever is written down as its holder is gone.
    known = run.facts().get("host") == platform.node() or owner_of(run) is not None
    return State("running", sure=False) if not known and _age(run) < RECENT else State("stopped")


def _age(run: RunFolder) -> float:
    """Seconds since the run last wrote something."""
    files = [run.facts_file, run.metrics_file, *(_manifest(run, step) for step in run.checkpoint_steps())]
    return time.time() - max(_changed(file) for file in files)


def _manifest(run: RunFolder, step: int) -> Path:
    return run.checkpoint(step) / "manifest.json"


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # missing, or dropped in this moment
        return 0.0


def progress_of(folder: Path, epochs: int) -> Progress:
    """How far training is. The rate is that of this start of the run: between its first checkpoint and the last thing
    it wrote, or since fitting began (when run.json is written)."""
    run = RunFolder(folder)
    begun, logged = _changed(run.facts_file), run.last_record("train")
    saved = [(step, _changed(_manifest(run, step))) for step in run.checkpoint_steps()]
    points = [*saved, *([(logged["step"], _changed(run.metrics_file))] if logged else [])]
    total = run.facts().get("total_steps")
    if total is None and logged and logged["epoch"]:
        total = round(logged["step"] / logged["epoch"] * epochs)
    step = max((step for step, _ in points), default=None)
    last = max((point for point in points if point[1] >= begun), default=None)
    if last is None:
        return Progress(step, total)
    first = _first_point(saved, begun)
    steps, seconds = last[0] - first[0], last[1] - first[1]
    return Progress(step, total, steps / seconds if steps > 0 and seconds > 0 else None)


def _first_point(saved: list[tuple[int, float]], begun: float) -> tuple[int, float]:
    """The earliest (step, time) that is known of this start of the run."""
    earlier = [point for point in saved if point[1] < begun]
    if earlier:
        return earlier[-1][0], begun  # resumed from there
    # Where checkpoints may have been dropped since, the step it began with is not known.
    return (0, begun) if len(saved) < KEEP else saved[0]


def table_status(plan: Plan) -> list[Status]:
    """Every run that is known to be needed by now. One that the published table has is published, unless it is being
    made again, for its weights."""
    missing, found = plan.missing(), []
    for cell in plan.known():
        status = status_of(cell, plan.outputs)
        if status.state.name != "done" and cell.place not in missing:
            status = Status(cell, State("published"))
        elif status.state.name == "pending" and plan.taken(cell):
            status = replace(status, note="published; made again for its weights")
        found.append(status)
    return found


def status_of(cell: Cell, outputs: Path) -> Status:
    """The state of a cell's run and a note: progress, wall time, or what went wrong."""
    folder = cell.folder(outputs)
    state = state_of(folder)
    notes = {"done": _took, "running": _going, "failed": _wrong, "stopped": _resumable}
    note = notes[state.name](cell, folder) if state.name in notes else _waits(cell, outputs)
    return Status(cell, state, note)


def _took(_: Cell, folder: Path) -> str:
    wall = RunFolder(folder).facts().get("wall_s")
    return "" if wall is None else duration(wall)


def _going(cell: Cell, folder: Path) -> str:
    if not cell.config.optim.trains:
        return "no training, testing"
    at = progress_of(folder, cell.config.trainer.epochs)
    if at.step is None:
        return "starting"
    if at.step == at.total:
        return f"step {at.step} of {at.total}, testing"
    rate = f", {at.rate:.3g} steps/s" if at.rate else ""
    left = f", {duration(at.left)} left" if at.left is not None else ""
    return f"step {at.step} of {at.total or '?'}{rate}{left}"


def _resumable(cell: Cell, folder: Path) -> str:
    saved = max(RunFolder(folder).checkpoint_steps(), default=0)
    total = progress_of(folder, cell.config.trainer.epochs).total
    return f"resumes at step {saved} of {total or '?'}" if saved else "starts again: no checkpoint yet"


def _wrong(_: Cell, folder: Path) -> str:
    text = RunFolder(folder).error() or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(line[:300] for line in lines[-ERROR_LINES:])


def _waits(cell: Cell, outputs: Path) -> str:
    if cell.start_place is None or (state := state_of(outputs / cell.start_place)).name == "done":
        return ""
    return f"after {cell.start_place} ({state.name})"


def summary(statuses: Iterable[Status]) -> str:
    """`12 done, 2 running, 1 failed, 9 pending`; states that no run is in are left out."""
    counts = Counter(status.state.name for status in statuses)
    return ", ".join(f"{counts[name]} {name}" for name in STATES if counts[name]) or "no runs"


def waiting(plan: Plan) -> str:
    """How many printed cells have no run yet, and what they wait for; empty where every run is known."""
    counts = Counter()
    for row, seed, cell in plan.finals():
        if cell is None:
            counts["start" if plan.choices(row, seed) is None else "search"] += 1
    parts = [f"{counts[what]} for the winner of their {what}" for what in ("search", "start") if counts[what]]
    return f"waiting cells: {', '.join(parts)}" if parts else ""


def chosen(plan: Plan, cell: Cell) -> str:
    """The values of the row's grid that this run has, as `lr=0.001`."""
    keys = plan.table.rows[cell.row].grid
    pairs = [override.partition("=") for override in cell.overrides]
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, _, value in pairs if key in keys)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
