"""Running as a Slurm job: a run that was asked to end is requeued, if Slurm would not do that itself."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator

from digrap.core.errors import Interrupted
from digrap.engine import interruption

PARENT = "DIGRAP_PARENT"  # set in ranks that another process started (engine/launch.py), which asks Slurm itself
REQUEUED = 75  # the exit code of a job that goes on later (EX_TEMPFAIL)
OTHERS_WAIT = 30  # seconds; a rank that leaves before the first one has asked would end the job
log = logging.getLogger(__name__)


def job_id() -> str | None:
    """The job's id, as Slurm's commands need it: the number of an array's task alone may mean the whole array."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Hear signals (`interruption.listening`); the outermost guard of a Slurm job requeues it.

    Raises Interrupted for a signal, SystemExit(75) where the job goes on later. After Ctrl-C the job is not requeued.
    """
    with interruption.listening() as outermost:
        try:
            yield
        except Interrupted as stop:
            if outermost and stop.signal != signal.SIGINT and job_id() is not None and PARENT not in os.environ:
                _go_on_later(stop)
            raise


def _go_on_later(stop: Interrupted) -> None:
    """Ask Slurm once, from the first rank. Returns if the job cannot be requeued."""
    if rank():
        time.sleep(OTHERS_WAIT)
        raise SystemExit(REQUEUED)
    job = job_id()
    try:
        state = _scontrol("show", "job", "-o", job).partition("JobState=")[2].split(maxsplit=1)
        if state[:1] == ["RUNNING"]:  # else Slurm requeues it, or wants it dead
            log.info("%s; job %s is requeued", stop, job)
            _requeue(job)
        else:
            log.info("%s; Slurm ends job %s (%s)", stop, job, state[0] if state else "state unknown")
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        log.error("job %s could not be requeued (%s); submit it again to resume", job, words.strip())
        return
    raise SystemExit(REQUEUED)


def _requeue(job: str) -> None:
    before = interruption.previous_handler(signal.SIGUSR2)
    if not callable(before):  # SIG_DFL and SIG_IGN are not
        _scontrol("requeue", job)
        return
    with contextlib.suppress(SystemExit):
        before(signal.SIGUSR2, None)  # submitit's: it counts, writes down the call, requeues, and would exit with 255


def _scontrol(*words: str) -> str:
    done = subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def rank() -> int:
    """This process's number among those of the job."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)
