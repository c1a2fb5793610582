"""How often a Slurm job was restarted without any progress of its run: an endless loop is stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from digrap.config.compose import start_config
from digrap.config.identity import run_hash
from digrap.config.schema import typed
from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.runs.folder import RunFolder
from digrap.runs.written import kept_answers

FILE = "requeues.json"
LIMIT = 5  # starts anew in a row


def count_start(cfg: DictConfig, folder: Path) -> None:
    """Note how far the run has come at this start of its job. Raises DigrapError at the LIMIT-th restart in a row
    without progress; a job that is submitted again begins at 0."""
    file, reached = Path(folder) / FILE, _reached(cfg, Path(folder))
    before = _read(file) if int(os.environ.get("SLURM_RESTART_COUNT") or 0) else {}
    count = before.get("count", 0) + 1 if before.get("reached") == reached else 0
    if count >= LIMIT:
        raise DigrapError(
            f"{folder}: the job was requeued {count} times in a row without a single step of progress; give it more "
            "time (cluster.minutes=…, cluster.warn_s=… for saving), or a partition where it is not preempted "
            "(cluster.partition=…), and submit it again"
        )
    write_json(file, {"count": count, "reached": reached})


def forget(folder: Path) -> None:
    """Remove the note, of a run that is done."""
    (Path(folder) / FILE).unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        plain = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) and isinstance(plain.get("count"), int) else {}


def _reached(cfg: DictConfig, folder: Path) -> dict[str, list[str]]:
    """What a run and the one that it is initialised from have kept: checkpoints, weights, answers, scores."""
    earlier = start_config(typed(cfg))
    names = [folder.name, *([run_hash(earlier)] if earlier else [])]
    kept = {path.name: _kept(RunFolder(path)) for name in names for path in folder.parent.glob(f"{name}*")}
    return {name: files for name, files in kept.items() if files}


def _kept(run: RunFolder) -> list[str]:
    files = [*kept_answers(run.path), run.variants_file, run.results_file]
    saved = sorted(path.name for path in run.checkpoints.glob("*") if not path.name.startswith("."))
    return saved + [f"{file.name}: {file.stat().st_size} bytes" for file in files if file.exists()]
