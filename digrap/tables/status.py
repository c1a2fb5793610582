"""Where a table's runs stand. Reads run folders only."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from digrap.tables.plan import Plan
from digrap.tables.spec import Cell

STATES = ("done", "running", "failed", "stopped", "pending")
RECENT = 600  # seconds; a lock that another machine holds may not be visible here, what it writes is
KEPT_CHECKPOINTS = 2  # digrap.engine.checkpoint.KEEP; that room imports torch
ERROR_LINES = 3


@dataclass(frozen=True)
class State:
    """Where one run folder stands. `sure` is False where only fresh files say that it is running."""

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
    """One run of a table, with what there is to say about it."""

    cell: Cell
    state: State
    note: str = ""


def lock_held(folder: Path) -> bool:
    """Whether a process that this machine can see is writing the folder."""
    lock = folder / ".lock"
    if not lock.is_file():  # asking makes no file
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # not ours to lock: the files' age has to do
        return False


def state_of(folder: Path) -> State:
    """done, running, failed, stopped (it can be resumed) or pending."""
    if (folder / "results.json").exists():
        return State("done")
    if lock_held(folder):
        return State("running")
    if (folder / "error.txt").exists():
        return State("failed")
    if not (folder / "run.json").exists():
        return State("pending")
    here = read_facts(folder).get("host") == platform.node()  # then the lock would have been seen
    return State("running", sure=False) if not here and _age(folder) < RECENT else State("stopped")


def read_facts(folder: Path) -> dict[str, Any]:
    """run.json; empty where it is missing or damaged."""
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _age(folder: Path) -> float:
    """Seconds since the run last wrote something."""
    files = [folder / "run.json", folder / "metrics.jsonl", *folder.glob("checkpoints/step-*/manifest.json")]
    return time.time() - max(_changed(file) for file in files)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # not there, or dropped in this moment
        return 0.0


def progress_of(folder: Path, epochs: int) -> Progress:
    """How far training is. The rate is that of this start of the run: between its first checkpoint and the last thing
    it wrote, or since fitting began (when run.json is written)."""
    begun = _changed(folder / "run.json")
    saved = sorted((int(path.name[5:]), _changed(path / "manifest.json")) for path in _checkpoints(folder))
    logged = _last_logged(folder / "metrics.jsonl")
    marks = [*saved, *([(logged["step"], _changed(folder / "metrics.jsonl"))] if logged else [])]
    total = read_facts(folder).get("total_steps")
    if total is None and logged and logged["epoch"]:
        total = round(logged["step"] / logged["epoch"] * epochs)
    step = max((step for step, _ in marks), default=None)
    last = max((mark for mark in marks if mark[1] >= begun), default=None)
    if last is None:
        return Progress(step, total)
    first = _first_mark(saved, begun)
    steps, seconds = last[0] - first[0], last[1] - first[1]
    return Progress(step, total, steps / seconds if steps > 0 and seconds > 0 else None)


def _first_mark(saved: list[tuple[int, float]], begun: float) -> tuple[int, float]:
    """The earliest (step, time) that is known of this start of the run."""
    earlier = [mark for mark in saved if mark[1] < begun]
    if earlier:
        return earlier[-1][0], begun  # resumed from there
    # Where checkpoints may have been dropped since, the step it began with is not known.
    return (0, begun) if len(saved) < KEPT_CHECKPOINTS else saved[0]


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoints/step-*") if path.name[5:].isdigit()]


def _last_logged(path: Path) -> dict[str, Any] | None:
    """The last whole "train" record of metrics.jsonl."""
    found = None
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith('{"event": "train"') and line.endswith("}\n"):  # not what is being written now
                    found = line
        return json.loads(found) if found else None
    except (OSError, ValueError):
        return None


def table_status(plan: Plan) -> list[Status]:
    """Every run that is known to be needed by now."""
    return [status_of(cell, plan.outputs) for cell in plan.known()]


def status_of(cell: Cell, outputs: Path) -> Status:
    """The state of a cell's run and a note: progress, wall time, or what went wrong."""
    folder = cell.folder(outputs)
    state = state_of(folder)
    notes = {"done": _took, "running": _going, "failed": _wrong, "stopped": _resumable}
    note = notes[state.name](cell, folder) if state.name in notes else _waits(cell, outputs)
    return Status(cell, state, note)


def _took(_: Cell, folder: Path) -> str:
    wall = read_facts(folder).get("wall_s")
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
    saved = max((int(path.name[5:]) for path in _checkpoints(folder)), default=0)
    total = progress_of(folder, cell.config.trainer.epochs).total
    return f"goes on from step {saved} of {total or '?'}" if saved else "starts again: no checkpoint yet"


def _wrong(_: Cell, folder: Path) -> str:
    try:
        text = (folder / "error.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:  # started again in this moment
        return ""
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
    return f"cells that wait: {', '.join(parts)}" if parts else ""


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
