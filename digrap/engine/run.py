"""One run: its folder, what happens in it, and the result that marks it done."""

from __future__ import annotations

import contextlib
import datetime
import logging
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from omegaconf import DictConfig, OmegaConf

from digrap.config.compose import start_config
from digrap.config.identity import run_hash
from digrap.config.known_keys import check_known_keys
from digrap.config.schema import typed
from digrap.core.errors import DigrapError, Interrupted
from digrap.engine import checkpoint, interruption, provenance, slurm
from digrap.engine.accelerator import open_accelerator
from digrap.engine.allocator import keep_freed_memory
from digrap.engine.build import build_method, check_packages, check_task, check_weights, method_errors
from digrap.engine.earlier_starts import (
    provenance_of,
    refuse_another_run,
    remove_temporaries,
    starts,
    tidy,
    tidy_finished,
)
from digrap.engine.fit import Fit
from digrap.engine.job import Job
from digrap.engine.loaders import derive_seed, order_notes
from digrap.engine.loggers import Sink, sinks
from digrap.engine.out_of_memory import advising, for_weights
from digrap.engine.print_scores import announce
from digrap.engine.run_data import check_takes_pictures
from digrap.engine.trained_state import overlay
from digrap.methods.method import Method, Variant
from digrap.runs.folder import SCHEMA, Results, RunFolder
from digrap.runs.lock import hold

AFTER_FIT = "after-fit.safetensors"
log = logging.getLogger(__name__)


@slurm.guard()
def run(cfg: DictConfig, folder: Path) -> float:
    """Make the run that `cfg` describes in `folder`, resume it, or report that it is done.

    A run whose weights this one is initialised from comes first, in its own folder beside this one. Returns the best
    ID-validation score. Raises DigrapError for whatever the user can fix; Busy where another process is writing
    `folder` and cfg.wait is not set; Interrupted for a signal (engine/interruption.py).
    """
    cfg, here = typed(cfg), RunFolder(Path(folder))
    refuse_another_run(cfg, here)
    if cfg.fresh:
        before, here = here, _beside(here)
        score = run(OmegaConf.merge(cfg, {"fresh": False}), here.path)
        _compare_scores(before, here)
        return score
    if (result := here.finished()) is not None:
        tidy_finished(here, result)
        if not here.config_file.exists():  # deleted because it was damaged
            here.write_config(cfg)
        again = _beside(here).path.name
        log.info("%s is already done (results.json exists); add fresh=true to repeat it in %s", here.path, again)
        announce(result, cfg)
        return result.selection["score"]
    check_known_keys(cfg)
    check_task(cfg)
    check_takes_pictures(cfg)
    check_packages(cfg)
    check_weights(cfg)
    keep_freed_memory()
    method = build_method(cfg)  # a bad option ends here, before an earlier run is made for nothing
    start = _start(cfg, here)
    with open_accelerator(cfg) as accelerator, _lock(here, accelerator, cfg.wait) as still_mine:
        refuse_another_run(cfg, here)  # another process may have made one since
        if (result := here.finished()) is not None:  # by the process that was waited for
            return result.selection["score"]
        main = accelerator.is_main_process
        with _noting_errors(here, accelerator), sinks(cfg, here.path, main) as further:
            return _run(cfg, method, here, accelerator, start, further, still_mine)


def _beside(done: RunFolder) -> RunFolder:
    """The folder for repeating a finished run: the first <hash>-fresh<k> that is not finished."""
    fresh, k = done, 0
    while fresh.finished() is not None:
        k += 1
        fresh = RunFolder(done.path.with_name(f"{done.path.name}-fresh{k}"))
    return fresh


def _compare_scores(before: RunFolder, after: RunFolder) -> None:
    if before == after:
        return
    old, new = before.results().scores, after.results().scores
    differ = [name for name in new if new[name] != old.get(name)]
    verdict = f"on {', '.join(differ)} differ from" if differ else "equal"
    log.info("%s: its scores %s those of %s", after.path, verdict, before.path)


@dataclass(frozen=True)
class Saved:
    """A file of weights and its sha256, which only the first process knows."""

    file: Path
    sha256: str | None


@contextlib.contextmanager
def _noting_errors(here: RunFolder, accelerator: Accelerator) -> Iterator[None]:
    """Keep what ends a run in its folder as error.txt until it is started again: the first error of all processes, as
    the others' is no more than a lost connection."""
    if accelerator.is_main_process:
        here.clear_error()
    try:
        yield
    except Exception as error:
        if (stop := interruption.asked()) and isinstance(error, RuntimeError):
            raise Interrupted(stop) from error  # another rank has left, or a worker of the loader was told to end too
        text = str(error) if isinstance(error, DigrapError) else traceback.format_exc()
        with contextlib.suppress(OSError):  # the error may be a full disk
            if not here.error_file.exists():
                here.write_error(text + "\n")
        raise


def _start(cfg: DictConfig, here: RunFolder) -> RunFolder | None:
    """The finished run that `cfg` is initialised from, made first where need be; None without one."""
    earlier = start_config(cfg)
    if earlier is None:
        return None
    beside = here.path.parent / run_hash(earlier)
    log.info("%s is initialised from %s, the run in %s", cfg.optim.name, earlier.optim.name, beside)
    run(OmegaConf.merge(earlier, {"wait": True, "fresh": False}), beside)
    return RunFolder(beside)


def _run(
    cfg: DictConfig,
    method: Method,
    here: RunFolder,
    accelerator: Accelerator,
    start: RunFolder | None,
    further: tuple[Sink, ...],
    still_mine: Callable[[], None],
) -> float:
    started, clock = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), time.monotonic()
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)
    set_seed(derive_seed(cfg.seed, "run") % 2**32)
    memory = provenance.PeakMemory(accelerator)
    # What changes the last bits of answers and is not in the hash: a run may move, or evaluate in smaller batches.
    place = {"device": provenance.device_name(accelerator), "processes": accelerator.num_processes}
    origin = {**place, "eval_batch_size": cfg.trainer.eval_batch_size, "seed": cfg.seed}
    main = accelerator.is_main_process
    identity = run_hash(cfg)
    if main:
        remove_temporaries(here)
        code = starts(here, {**provenance.commit(), "started": started})
        origin = {**provenance_of(code), **origin}
        here.write_config(cfg)
        about = {"host": platform.node(), "versions": provenance.versions(cfg), "started": started, "starts": code}
        here.write_facts({**origin, **about})
    log.info("%s on %s, seed %d → %s", method.name, cfg.dataset.name, cfg.seed, here.path)

    job = Job.build(cfg, method, here, accelerator, memory, further, start and start.weights(), still_mine)
    if main:
        known = {"classes": list(job.data.source.classes)} if job.data.source.classes else {}
        known |= {"pictures": job.data.source.pictures} if job.data.source.pictures else {}
        here.note(weights=job.backbone.provenance, base=job.base, **known, **job.task.notes)
        provenance.describe_data(here, job.data.source)
    module, epoch, weights = _fit(job, start and start.results())
    variants = {}
    if job.method.after_fit:
        scores, variants, weights = _variants(job, module)
    else:
        scores = job.evaluator.score(module, job.data.tested, here.predictions_file)
    validation = job.data.of_kind("id_val").name
    if (chosen := scores[validation].get(job.task.metric)) is None:
        raise DigrapError(f"dataset.select_by={job.task.metric} does not apply to every example of split {validation}")
    earlier = start and start.results()
    measured = {"evaluated_per_s": job.evaluator.throughput.rate, "peak_memory": memory.whole()}  # of this start
    result = {
        "schema": SCHEMA, "hash": identity, "dataset": cfg.dataset.name, "backbone": cfg.backbone.name,
        "method": job.method.name, "metric": job.task.metric,
        "protocol": job.data.source.protocol or cfg.dataset.get("version"),
        **({"caveats": list(job.data.source.caveats)} if job.data.source.caveats else {}),
        "start": earlier and {"method": earlier.method, "hash": earlier.hash},
        **job.backbone.notes, **order_notes(job.data.tested[0].load()),
        **({"dropped": dropped} if method.trains and (dropped := job.data.dropped) else {}),
        **({"skipped": skipped} if (skipped := job.data.source.skipped) else {}),
        **({"smoke": True} if cfg.trainer.smoke else {}),
        "selection": {"split": validation, "epoch": epoch, "score": chosen},
        "weights": weights and str(weights.file.relative_to(here.path)),
        "weights_sha256": weights and weights.sha256,
        "scores": scores, **({"variants": variants} if variants else {}), **origin,
        "versions": provenance.versions(cfg), "measured": measured,
    }  # fmt: skip
    if main:
        here.note(wall_s=round(time.monotonic() - clock, 1), tested=job.evaluator.tested, **measured)
        still_mine()
        here.write_results(result)  # last: it marks the run as done
        tidy(here, here.results())
        announce(here.results(), cfg)
    accelerator.wait_for_everyone()  # a run that is initialised from this one reads its results
    return chosen


def _fit(job: Job, start: Results | None) -> tuple[torch.nn.Module, int | None, Saved | None]:
    """Train what the method trains. Returns the prepared model, its epoch, and its weights as saved."""
    if job.method.trains:
        fit, main = Fit(job), job.accelerator.is_main_process
        if main:
            job.run.note(total_steps=fit.total_steps, optimizer=provenance.describe_optimizer(fit.optimizer))
        best = fit.run()
        if main and fit.throughput.rate:  # of this start of the run
            job.run.note(trained_per_s=fit.throughput.rate)
        return fit.module, best.best_epoch, Saved(fit.best_file(best.best_epoch), best.best_sha256)
    if start is None and not job.backbone.has_head:
        raise DigrapError(
            f"optim={job.method.name}: backbone={job.cfg.backbone.name} has no pre-trained head for "
            f"{job.cfg.dataset.name}, so there is nothing to test without training; choose another optim or backbone"
        )
    with advising("with the model alone", for_weights(job.cfg)):
        module = job.accelerator.prepare(job.backbone.module)
    return module, start and start.selection["epoch"], None


def _variants(job: Job, module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any], Saved]:
    """Test every outcome of the method's after_fit: the chosen one's scores, {name: scores}, and its saved weights.

    The chosen one's weights and predictions are written. Scores are kept as they come: a resumed run tests the rest.
    """
    main, kept = job.accelerator.is_main_process, job.run.variants()
    chosen, scores, digest = {}, {}, None
    for variant in _outcomes(job):
        if variant.chosen and main:  # also where its scores are kept: the file may have been damaged since
            digest = checkpoint.write_weights(job.run.checkpoints / AFTER_FIT, variant.weights, job.base)
        if variant.name not in kept:
            log.info("%s: variant %s", job.method.name, variant.name)
            overlay(job.accelerator.unwrap_model(module), variant.weights, f"variant {variant.name}")
            bundle = job.run.predictions_file if variant.chosen else None
            kept[variant.name] = job.evaluator.score(module, job.data.tested, bundle)
            if main:
                job.run.write_variants(kept)
        scores[variant.name] = kept[variant.name]
        chosen = scores[variant.name] if variant.chosen else chosen
    return chosen, scores, Saved(job.run.checkpoints / AFTER_FIT, digest)


def _outcomes(job: Job) -> Iterator[Variant]:
    """The variants that the method's after_fit yields; its errors become DigrapErrors that name the method."""
    with method_errors(job.method.name):
        outcomes = iter(job.method.after_fit(job.context()))
    while True:
        with method_errors(job.method.name):
            outcome = next(outcomes, None)
        if outcome is None:
            return
        yield outcome


@contextlib.contextmanager
def _lock(here: RunFolder, accelerator: Accelerator, wait: bool) -> Iterator[Callable[[], None]]:
    """Hold the run folder: two processes never write one. Yields what raises Busy where it has been lost."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        yield lambda: None
        return
    with hold(here, wait) as still_mine:
        accelerator.wait_for_everyone()  # the others look whether the run is done only when this one may write
        yield still_mine
