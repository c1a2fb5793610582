"""One run: its folder, what happens in it, and the result that marks it done."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import platform
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from digrap.config.compose import start_config
from digrap.config.identity import run_hash
from digrap.config.schema import typed
from digrap.core.errors import Busy, DigrapError
from digrap.core.files import write_json, write_text
from digrap.engine import checkpoint
from digrap.engine import provenance as record
from digrap.engine.allocator import keep_freed_memory
from digrap.engine.build import build_method, check_task, worded
from digrap.engine.checkpoint import write_weights
from digrap.engine.evaluate import score_splits
from digrap.engine.fit import Fit
from digrap.engine.job import Job
from digrap.engine.loaders import derive_seed
from digrap.engine.sinks import sinks
from digrap.methods.method import Method, Variant
from digrap.runs.predictions import PREDICTIONS

SCHEMA = 1
AFTER_FIT = "after-fit.safetensors"
log = logging.getLogger(__name__)


def run(cfg: DictConfig, folder: Path) -> float:
    """Make the run that `cfg` describes in `folder`, or go on with it, or say that it is done.

    A run that another one's weights are the start of comes first, in its own folder beside this one. Returns the best
    ID-validation score. Raises DigrapError for whatever the user can mend; Busy where another process is writing
    `folder` and cfg.wait is not set.
    """
    cfg, folder = typed(cfg), Path(folder)
    if cfg.fresh:
        folder, before = _beside(folder), folder
        score = run(OmegaConf.merge(cfg, {"fresh": False}), folder)
        _say_whether_equal(before, folder)
        return score
    if (result := finished(folder)) is not None:
        log.info("%s is done (results.json is there; delete the folder to run it again)", folder)
        announce(result)
        return result["selection"]["score"]
    check_task(cfg)
    keep_freed_memory()
    method = build_method(cfg)  # a bad option ends here, before an earlier run is made for nothing
    start = _start(cfg, folder)
    with open_accelerator(cfg) as accelerator, _lock(folder, accelerator, cfg.wait):
        if (result := finished(folder)) is not None:  # by the process that was waited for
            return result["selection"]["score"]
        with _noting_errors(folder, accelerator):
            return _run(cfg, method, folder, accelerator, start)


def _beside(folder: Path) -> Path:
    """Where a finished run is made once more: the first <hash>-fresh<k> that is not finished."""
    if finished(folder) is None:
        return folder
    k = 1
    while finished(fresh := folder.with_name(f"{folder.name}-fresh{k}")) is not None:
        k += 1
    return fresh


def _say_whether_equal(before: Path, after: Path) -> None:
    if before == after:
        return
    old, new = finished(before)["scores"], finished(after)["scores"]
    differ = [name for name in new if new[name] != old.get(name)]
    log.info(
        "%s: the scores %s those of %s", after, f"of {', '.join(differ)} differ from" if differ else "equal", before
    )


@contextlib.contextmanager
def _noting_errors(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """What ends a run stays in its folder as error.txt until it is started again."""
    note = folder / "error.txt"
    if accelerator.is_main_process:
        note.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if accelerator.is_main_process:
            text = str(error) if isinstance(error, DigrapError) else traceback.format_exc()
            with contextlib.suppress(OSError):  # a full disk is what is being told
                write_text(note, text + "\n")
        raise


def _start(cfg: DictConfig, folder: Path) -> dict[str, Any] | None:
    """Make the run that `cfg` goes on from, or find it done; its result, with the path of its weights."""
    earlier = start_config(cfg)
    if earlier is None:
        return None
    beside = folder.parent / run_hash(earlier)
    log.info("%s goes on from %s, the run in %s", cfg.optim.name, earlier.optim.name, beside)
    run(OmegaConf.merge(earlier, {"wait": True, "fresh": False}), beside)
    return finished(beside) | {"file": weights_of(beside)}


def finished(folder: Path) -> dict[str, Any] | None:
    """The results of a finished run, else None. Raises DigrapError where results.json is damaged."""
    path = Path(folder) / "results.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DigrapError(f"{path} is damaged ({error}); delete it to test this run again") from error


def _run(
    cfg: DictConfig, method: Method, folder: Path, accelerator: Accelerator, start: dict[str, Any] | None
) -> float:
    started, clock = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), time.monotonic()
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)
    set_seed(derive_seed(cfg.seed, "run") % 2**32)
    provenance = {**record.commit(), "device": _device_name(accelerator), "seed": cfg.seed}
    main = accelerator.is_main_process
    identity = run_hash(cfg)
    if main:
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg))
        about = {**provenance, "host": platform.node(), "versions": record.versions(), "started": started}
        write_json(folder / "run.json", about)
    log.info("%s on %s, seed %d → %s", cfg.optim.name, cfg.dataset.name, cfg.seed, folder)

    job = Job.build(cfg, method, folder, accelerator, sinks(cfg, folder) if main else (), start and start["file"])
    if main:
        record.note(folder, weights=job.backbone.provenance)
        record.data(folder, job.data.source)
    module, epoch, weights = _fit(job, start)
    variants = {}
    if job.method.after_fit:
        (scores, variants), weights = _variants(job, module), job.checkpoints / AFTER_FIT
    else:
        scores = score_splits(accelerator, module, job.backbone, job.task, job.data.tested, cfg, folder / PREDICTIONS)
    validation = job.data.of_kind("id_val").name
    chosen = scores[validation][job.task.metric]
    result = {
        "schema": SCHEMA, "hash": identity, "dataset": cfg.dataset.name, "backbone": cfg.backbone.name,
        "method": job.method.name, "metric": job.task.metric,
        "protocol": job.data.source.protocol or cfg.dataset.get("version"),
        **({"caveats": list(job.data.source.caveats)} if job.data.source.caveats else {}),
        "start": start and {key: start[key] for key in ("method", "hash")},
        "selection": {"split": validation, "epoch": epoch, "score": chosen},
        "weights": weights and str(weights.relative_to(folder)),
        "scores": scores, **({"variants": variants} if variants else {}), **provenance,
        "versions": record.versions(),
    }  # fmt: skip
    if main:
        took = round(time.monotonic() - clock, 1)
        record.note(folder, wall_s=took)
        write_json(folder / "results.json", result)  # last: it marks the run as done
        checkpoint.clear(folder / "checkpoints")
        (folder / "variants.json").unlink(missing_ok=True)
        announce(result)
    accelerator.wait_for_everyone()  # what goes on from this run reads its results
    return chosen


def _fit(job: Job, start: dict[str, Any] | None) -> tuple[torch.nn.Module, int | None, Path | None]:
    """Train what the method trains. Returns the prepared model, its epoch, and the file of its weights."""
    if job.method.trains:
        fit = Fit(job)
        if job.accelerator.is_main_process:
            record.note(job.folder, total_steps=fit.steps_per_epoch * job.cfg.trainer.epochs)
        epoch = fit.run().best_epoch
        return fit.module, epoch, fit.best_file(epoch)
    if start is None and not job.backbone.has_head:
        raise DigrapError(
            f"optim={job.method.name}: backbone={job.cfg.backbone.name} has no pre-trained head for "
            f"{job.cfg.dataset.name}, so there is nothing to test without training; choose another optim or backbone"
        )
    module = job.accelerator.prepare(job.backbone.module)
    return module, start and start["selection"]["epoch"], None


def _variants(job: Job, module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """Test every outcome of what follows the fit: the chosen one's scores, and {name: scores}. The chosen one's
    weights and predictions are written. Scores are kept as they come: a resumed run tests the rest."""
    path, main = job.folder / "variants.json", job.accelerator.is_main_process
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    chosen, scores = {}, {}
    for variant in _outcomes(job):
        if variant.name not in kept:
            log.info("%s: variant %s", job.method.name, variant.name)
            job.accelerator.unwrap_model(module).load_state_dict(variant.weights)
            if variant.chosen and main:
                write_weights(job.checkpoints / AFTER_FIT, variant.weights, variant=variant.name)
            bundle = job.folder / PREDICTIONS if variant.chosen else None
            kept[variant.name] = score_splits(
                job.accelerator, module, job.backbone, job.task, job.data.tested, job.cfg, bundle
            )
            if main:
                write_json(path, kept)
        scores[variant.name] = kept[variant.name]
        chosen = scores[variant.name] if variant.chosen else chosen
    return chosen, scores


def _outcomes(job: Job) -> Iterator[Variant]:
    """What the method's after_fit yields, its refusals worded."""
    with worded(job.method.name):
        outcomes = iter(job.method.after_fit(job.context()))
    while True:
        with worded(job.method.name):
            outcome = next(outcomes, None)
        if outcome is None:
            return
        yield outcome


def weights_of(folder: Path) -> Path | None:
    """The weights a finished run was tested with; None where it trained nothing. Raises DigrapError where they, or
    the run's results, are not there."""
    result = finished(folder)
    if result is None:
        raise DigrapError(f"run={folder}: no results.json there; finish the run first with the same train.py command")
    if result["weights"] is None:
        return None
    if not (path := Path(folder) / result["weights"]).exists():
        raise DigrapError(f"{path} is missing; delete {folder} and train the run again")
    return path


def announce(result: dict[str, Any]) -> None:
    """Print a result's scores as a table, and one of all variants where there are several."""
    from rich.console import Console
    from rich.table import Table

    metric, tables = result["metric"], [Table(), Table()]
    for title in ("split", "kind", "n", f"{metric} %"):
        tables[0].add_column(title, justify="left" if title in ("split", "kind") else "right")
    for name, score in result["scores"].items():
        tables[0].add_row(name, score["kind"], str(score["n"]), f"{score[metric]:.2f}")
    variants = result.get("variants", {})
    for title in ("variant", *result["scores"]):
        tables[1].add_column(title, justify="right")
    for name, scores in variants.items():
        tables[1].add_row(name, *(f"{score[metric]:.1f}" for score in scores.values()))
    title = f"{result['method']} · {result['dataset']} · {result['backbone']} · seed {result['seed']}"
    caveats = [f"! {caveat}" for caveat in result.get("caveats", ())]
    Console().print(title, *caveats, *tables[: 1 + (len(variants) > 1)], sep="\n", highlight=False)


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
def _lock(folder: Path, accelerator: Accelerator, wait: bool) -> Iterator[None]:
    """Hold the run folder: two processes never write one."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        yield
        return
    said = False
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=60 if wait and said else 0.5)  # status asks for it for an instant
        except Timeout as error:
            if not wait:
                raise Busy(f"{folder} is being written by another process; wait for it or end it") from error
            log.info("waiting for %s, which another process is making", folder)
            said = True
    with lock:
        accelerator.wait_for_everyone()  # the others look whether the run is done only when this one may write
        yield


def _device_name(accelerator: Accelerator) -> str:
    device = accelerator.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
