"""A trace of a few training steps, for trainer.profile=true."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, schedule

from digrap.core.files import write_atomically
from digrap.engine.job import Job

UNTRACED, WARM_UP, STEPS = 4, 1, 3  # steps: before the profiler, with it but not kept, kept
log = logging.getLogger(__name__)


@contextlib.contextmanager
def profiling(job: Job) -> Iterator[Callable[[], None]]:
    """Around training. Yields what must be called after every step; it does nothing where trainer.profile is not set.

    The first process writes trace.json, in Chrome's format, once the steps have been taken.
    """
    if not (job.cfg.trainer.profile and job.accelerator.is_main_process):
        yield lambda: None
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler prints lines of its own when it starts
    activities = [ProfilerActivity.CPU]
    if job.accelerator.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    needed, file = UNTRACED + WARM_UP + STEPS, job.run.trace_file

    def write(profiler: profile) -> None:
        if profiler.step_num >= needed:  # torch calls it for a part of the steps too, where training ends
            _write(profiler, file)
            log.info("a trace of %d steps: %s (for https://ui.perfetto.dev or chrome://tracing)", STEPS, file)

    plan = schedule(wait=UNTRACED, warmup=WARM_UP, active=STEPS, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
        yield profiler.step
    if profiler.step_num < needed:
        log.warning("trainer.profile=true: no trace, because this start took fewer than %d steps", needed)


def _write(profiler: profile, file: Path) -> None:
    """Write the trace atomically; torch only writes to a file name, so it comes from a temporary file elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / file.name
        profiler.export_chrome_trace(str(whole))
        with open(whole, "rb") as source:
            write_atomically(file, lambda target: shutil.copyfileobj(source, target))
