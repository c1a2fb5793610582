"""A run inside a job of Slurm's: where the run fails for a reason of its own, the job has failed."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from digrap.core.errors import Busy, DigrapError
from digrap.runs.folder import RunFolder

log = logging.getLogger(__name__)


class Ending:
    """Makes this process end with code 1 where `failed` is set, although Hydra has caught the error of the job:
    submitit writes the failed outcome for its launcher, and Slurm sees a failed job all the same."""

    def __init__(self):
        self.failed = False
        atexit.register(self._end)

    def _end(self) -> None:
        if self.failed:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


ending = cache(Ending)


def outlive_signals() -> None:
    """In a job of Slurm's whose only run is done, ignore what asks it to end: no more than this process's own end is
    left, and a preemption in that moment would make a failed job of it."""
    if "SLURM_JOB_ID" in os.environ:
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def failing_job(folder: Path) -> Iterator[None]:
    """Log what ends a run, keep it in its folder as error.txt, and have submitit's process end with code 1. Outside of
    Slurm, and for a folder that another process is writing, the error passes as it is."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    process = ending()  # before torch is imported: what that does at the end comes first
    process.failed = False
    try:
        yield
    except Busy:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, DigrapError) else traceback.format_exc()
        log.error("the run failed: %s", text)
        if os.environ.get("SLURM_PROCID", "0") == "0":
            with contextlib.suppress(OSError):  # the error may be a full disk
                RunFolder(folder).write_error(text)
        process.failed = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
        raise
