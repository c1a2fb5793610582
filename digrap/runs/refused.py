"""What a refused command leaves: nothing."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from digrap.core.errors import Busy
from digrap.runs.folder import RunFolder
from digrap.runs.lock import hold
from digrap.runs.written import foreign, kept_answers


def remove_refused(folder: Path, failed_too: bool) -> bool:
    """Remove the folder of a run whose training or testing never began, and the one above where it is empty then.

    `failed_too`: also where error.txt tells status.py of it. A folder that another process holds, or with a file that
    no run writes, stays. Returns whether the folder is gone.
    """
    run = RunFolder(folder)
    if not run.path.is_dir() or _has_work(run) or (run.error_file.exists() and not failed_too) or foreign(run.path):
        return False
    with contextlib.suppress(Busy, OSError):
        with hold(run):
            shutil.rmtree(run.path)
        with contextlib.suppress(OSError):  # not empty: it has other runs
            run.path.parent.rmdir()
        return True
    return False


def _has_work(run: RunFolder) -> bool:
    """Whether training has begun (run.json has its number of steps then), or anything was tested."""
    begun = "total_steps" in run.facts() or bool(run.checkpoint_steps() or run.last_record("train"))
    return begun or run.done() or run.variants_file.exists() or bool(kept_answers(run.path))
