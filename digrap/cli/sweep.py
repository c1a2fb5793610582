"""Runs of a table made by `python train.py -m table=FILE` in processes of its own, with its progress in a few lines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from digrap.config.overrides import override
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.runs.folder import RunFolder
from digrap.tables.run_states import duration, progress_of, status_of
from digrap.tables.spec import Cell

POLL_SECONDS = 0.5
QUIET_SECONDS = 15.0  # without a finished run, then a line says what is being made
ENOUGH = 0.2  # runs' worth of training that the time left is estimated from
GRACE_SECONDS = 20  # between the request to stop and the end
LOG_LINES = 8


def sweep(table: Path, cells: Iterable[Cell], outputs: Path, jobs: int) -> None:
    """Make the missing runs of the table in the file `table`, `jobs` at a time; `cells` are all of its runs.

    What the runs print goes to a .log beside the file. Raises DigrapError naming each failed run, its error and its
    command. An interruption ends every process, and the next call resumes.
    """
    cells = {cell.place: cell for cell in cells}
    missing = {place: cell for place, cell in cells.items() if not _done(cell, outputs)}
    if not missing:
        return
    there = len(cells) - len(missing)
    log = table.with_suffix(".log")
    print(f"{there} of {len(cells)} runs are done, {len(missing)} to make, {jobs} at a time; log: {log}", flush=True)
    with open(log, "w", encoding="utf-8") as file:
        # A process group of its own: an interruption of this process is handed on once, to all of its workers.
        process = subprocess.Popen(
            _command(table, next(iter(cells.values())), outputs, jobs), cwd=REPO, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            _watch(process, missing, len(cells), outputs)
        finally:
            _end(process)
    _check(process.returncode, missing.values(), outputs, log)


def _command(table: Path, cell: Cell, outputs: Path, jobs: int) -> list[str]:
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
    folder = override("hydra.sweep.dir", outputs / cell.config.dataset.name)
    return [sys.executable, "train.py", "-m", override("table", table), *launcher, folder]


def _watch(process: subprocess.Popen, missing: dict[str, Cell], total: int, outputs: Path) -> None:
    """Print a line for every run that is finished, and now and then what is being made, until the process ends."""
    left, training = dict(missing), Training(missing.values(), outputs)
    ended, spoken = False, time.monotonic()
    while not ended:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            ended = True
        finished = [place for place, cell in left.items() if _done(cell, outputs)]
        for place in finished:
            cell = left.pop(place)
            print(f"{total - len(left)} of {total}: {_title(cell)}{training.time_left()}", flush=True)
        if not finished and not ended and time.monotonic() - spoken >= QUIET_SECONDS:
            making = _making(left.values(), outputs) or "starting"
            print(f"  {making}{training.time_left()}", flush=True)
            finished = [making]
        if finished:
            spoken = time.monotonic()


def _title(cell: Cell) -> str:
    return f"{cell.row}, seed {cell.seed}"


def _making(cells: Iterable[Cell], outputs: Path) -> str:
    """The runs that are being made, each with how far it is."""
    running = [one for one in (status_of(cell, outputs) for cell in cells) if one.state.name == "running"]
    return "; ".join(f"{_title(one.cell)}: {one.note}" for one in running)


class Training:
    """How much of the training of some runs is done, and by that how long the rest takes."""

    def __init__(self, cells: Iterable[Cell], outputs: Path):
        self.cells, self.outputs = [cell for cell in cells if cell.config.optim.trains], outputs
        self.begun, self.before = time.monotonic(), self._done()
        self.warm = False

    def time_left(self) -> str:
        """`; about 3 min left`; "" where too little is known, or nothing is left to train."""
        done, now = self._done(), time.monotonic()
        if done > self.before and not self.warm:  # what comes before the first steps, such as drawing data, comes once
            self.begun, self.before, self.warm = now, done, True
        left, made = len(self.cells) - done, done - self.before
        if not left or made < ENOUGH:
            return ""
        return f"; about {duration((now - self.begun) / made * left)} left"

    def _done(self) -> float:
        """In runs."""
        return sum(map(self._share, self.cells))

    def _share(self, cell: Cell) -> float:
        if _done(cell, self.outputs):
            return 1.0
        at = progress_of(cell.folder(self.outputs), cell.config.trainer.epochs)
        return at.step / at.total if at.step and at.total else 0.0


def _end(process: subprocess.Popen) -> None:
    """Interrupt the process group; kill what of it is left."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # nothing is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _check(code: int, cells: Iterable[Cell], outputs: Path, log: Path) -> None:
    if code:
        text = log.read_text(encoding="utf-8", errors="replace")
        _, found, error = text.rpartition("\nerror: ")
        words = error.strip() if found else "\n".join(["the runs failed:", *text.splitlines()[-LOG_LINES:]])
        raise DigrapError(f"{words}\nWhat the runs printed: {log}. The same command resumes.")
    for cell in cells:
        if not _done(cell, outputs):
            raise DigrapError(
                f"{cell.row}, seed {cell.seed}: the run is not in {cell.folder(outputs)}; if the optimizer's file has "
                "changed meanwhile, run the command again"
            )


def _done(cell: Cell, outputs: Path) -> bool:
    return RunFolder(cell.folder(outputs)).done()
