"""One run: its folder, what happens in it, and the result that marks it done."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from digrap.config import run_hash, typed
from digrap.engine import checkpoint, record
from digrap.engine.build import build_backbone, build_data, build_method
from digrap.engine.evaluate import score_splits
from digrap.engine.fit import Fit, Position
from digrap.engine.loaders import derive_seed
from digrap.engine.memory import keep_freed_memory
from digrap.engine.sinks import sinks
from digrap.errors import DigrapError
from digrap.files import write_json, write_text
from digrap.tasks.classification import Classification

SCHEMA = 1
log = logging.getLogger(__name__)


def run(cfg: DictConfig, folder: Path) -> float:
    """Make the run that `cfg` describes in `folder`, or go on with it, or say that it is done.

    Returns the best ID-validation score. Raises DigrapError for whatever the user can mend.
    """
    cfg, folder = typed(cfg), Path(folder)
    if (result := finished(folder)) is not None:
        log.info("%s is done (results.json is there; delete the folder to run it again)", folder)
        announce(result)
        return result["selection"]["score"]
    keep_freed_memory()
    with open_accelerator(cfg) as accelerator, _lock(folder, accelerator):
        return _run(cfg, folder, accelerator)


def finished(folder: Path) -> dict[str, Any] | None:
    """The results of a finished run, else None. Raises DigrapError where results.json is damaged."""
    path = Path(folder) / "results.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DigrapError(f"{path} is damaged ({error}); delete it to test this run again") from error


def _run(cfg: DictConfig, folder: Path, accelerator: Accelerator) -> float:
    started, clock = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), time.monotonic()
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)
    set_seed(derive_seed(cfg.seed, "run") % 2**32)
    provenance = {**record.commit(), "device": _device_name(accelerator), "seed": cfg.seed}
    main = accelerator.is_main_process
    identity = run_hash(cfg)
    if main:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg))
        write_json(folder / "run.json", {**provenance, "versions": record.versions(), "started": started})
    log.info("%s on %s, seed %d → %s", cfg.optim.name, cfg.dataset.name, cfg.seed, folder)

    data = build_data(cfg)
    backbone = build_backbone(cfg, data.classes)
    method = build_method(cfg)
    task = Classification(data.classes)
    metrics = record.Metrics(folder / "metrics.jsonl", sinks(cfg, folder) if main else ())
    if method.phases:
        fit = Fit(cfg, accelerator, backbone, method, data, task, metrics, folder)
        position = fit.run()
        module = fit.module
    elif backbone.has_head:
        position, module = Position(), accelerator.prepare(backbone.module)
    else:
        raise DigrapError(
            f"optim={method.name}: backbone={cfg.backbone.name} has no pre-trained head for {cfg.dataset.name}, so "
            "there is nothing to test without training; choose another optim or backbone"
        )
    tested = [split for split in data.splits.values() if split.kind != "id_train"]
    scores = score_splits(accelerator, module, backbone, task, tested, cfg, folder / "predictions")
    (validation,) = data.of_kind("id_val")
    chosen = scores[validation.name][task.metric]
    result = {
        "schema": SCHEMA, "hash": identity, "dataset": cfg.dataset.name, "backbone": cfg.backbone.name,
        "method": method.name, "metric": task.metric,
        "selection": {"split": validation.name, "epoch": position.best_epoch, "score": chosen},
        "weights": str(fit.best_file(position.best_epoch).relative_to(folder)) if method.phases else None,
        "scores": scores, **provenance, "versions": record.versions(),
    }  # fmt: skip
    if main:
        took = round(time.monotonic() - clock, 1)
        notes = {"started": started, "wall_s": took, "versions": record.versions()}
        write_json(folder / "run.json", {**provenance, **notes})
        write_json(folder / "results.json", result)  # last: it marks the run as done
        checkpoint.clear(folder / "checkpoints")
        announce(result)
    return chosen


def announce(result: dict[str, Any]) -> None:
    """Print a result's scores as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for title in ("split", "kind", "n", f"{result['metric']} %"):
        table.add_column(title, justify="left" if title in ("split", "kind") else "right")
    for name, score in result["scores"].items():
        table.add_row(name, score["kind"], str(score["n"]), f"{score[result['metric']]:.2f}")
    title = f"{result['method']} · {result['dataset']} · {result['backbone']} · seed {result['seed']}"
    Console().print(title, table, sep="\n", highlight=False)


@contextlib.contextmanager
def open_accelerator(cfg: DictConfig) -> Iterator[Accelerator]:
    """accelerate's device and precision; its process-wide state is cleared after, for the next job of a sweep."""
    kind = cfg.device.split(":")[0]
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, True):
        raise DigrapError(f"device={cfg.device}: this machine has none; device=auto takes what is there")
    _reset_accelerate()
    try:
        yield Accelerator(cpu=kind == "cpu", mixed_precision=cfg.trainer.precision)
    finally:
        _reset_accelerate()


def _reset_accelerate() -> None:
    AcceleratorState._reset_state()
    PartialState._reset_state()
    GradientState._reset_state()


@contextlib.contextmanager
def _lock(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold the run folder: two processes never write one."""
    if not accelerator.is_main_process:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise DigrapError(f"{folder} is being written by another process; wait for it or end it") from error


def _device_name(accelerator: Accelerator) -> str:
    device = accelerator.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
