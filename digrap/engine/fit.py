"""The training loop: resumable at any optimizer step, the best epoch kept."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError, Interrupted
from digrap.core.files import check_sha256
from digrap.core.progress import track
from digrap.engine import checkpoint, interruption
from digrap.engine.boundary import agree
from digrap.engine.build import call_choice, method_errors
from digrap.engine.evaluate import Throughput
from digrap.engine.job import Job
from digrap.engine.layer_decay import with_layer_decay
from digrap.engine.layers import layer_report
from digrap.engine.loaders import batch_sizes, train_batches
from digrap.engine.out_of_memory import advising, for_training, for_weights
from digrap.engine.profiling import profiling
from digrap.engine.rng import restore_rng, rng_state
from digrap.engine.running_statistics import RunningStatistics
from digrap.engine.sharding import all_finite, gathered, is_sharded, load_optimizer, prepare, saved_tensors, shard
from digrap.engine.trained_state import overlay, read_weights
from digrap.engine.training_log import TrainingLog
from digrap.methods.trained import training_mode
from digrap.models.lora import has_adapters
from digrap.optim import param_groups
from digrap.tasks.task import Batch

OMEGA_AN_EPOCH = 4  # ω moves most within the first epoch
log = logging.getLogger(__name__)


@dataclass
class Position:
    """Where training stands; `step` counts optimizer steps, `best_*` the best epoch on ID validation, whose weights lie
    in a file with the digest `best_sha256`."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_epoch: int | None = None
    best_score: float = -math.inf
    best_sha256: str | None = None


class Fit:
    """Fine-tunes `backbone.module` in place and leaves it with the weights of its best ID-validation epoch."""

    def __init__(self, job: Job):
        cfg, backbone, method = job.cfg, job.backbone, job.method
        self.job, self.cfg, self.accelerator, self.task = job, cfg, job.accelerator, job.task
        self.root, self.train_data, self.validation_data = job.run.checkpoints, job.data.train, job.data.validation
        self.identity = run_hash(cfg)
        sizes = batch_sizes(cfg.trainer, len(self.train_data), job.accelerator.num_processes)
        self.batch_size, self.micro_batch = sizes
        self.steps_per_epoch = len(self.train_data) // self.batch_size  # an incomplete last batch is left out
        whole = self.steps_per_epoch * cfg.trainer.epochs
        self.total_steps = min(whole, cfg.trainer.max_steps or whole)
        self.epochs = math.ceil(self.total_steps / self.steps_per_epoch)  # the last one may be cut short
        self.parts = {round(self.steps_per_epoch * part / OMEGA_AN_EPOCH) for part in range(1, OMEGA_AN_EPOCH)}
        self.log = TrainingLog(job, self.steps_per_epoch, self.epochs)
        self.log.begin(self.batch_size)  # before parameters are in shards
        shard(cfg, job.accelerator, backbone.module)
        with method_errors(method.name):
            adapted = has_adapters(backbone.module)
            groups = param_groups(backbone.module, unanchored=backbone.unanchored, peft=adapted)
            decay, lr = cfg.trainer.layer_decay, cfg.trainer.base.lr
            self.optimizer = method.optimizer(with_layer_decay(groups, backbone.module, decay, lr))
        whole = {"base_lr": lr, "steps_per_epoch": self.steps_per_epoch, "epochs": cfg.trainer.epochs}
        factor = call_choice("schedule", cfg.schedule, **whole)
        self.scheduler = LambdaLR(self.optimizer, factor)
        with advising("with the model alone", for_weights(cfg)):
            self.module, self.wrapped_optimizer = prepare(job.accelerator, backbone.module, self.optimizer)
        with method_errors(method.name):
            self.after_step = method.after_step(job.context()) if method.after_step else None
        self.statistics = RunningStatistics(backbone.module, job.accelerator)
        self.position = Position()
        self.throughput = Throughput()
        self.saved_at = time.monotonic()

    def run(self) -> Position:
        """Train to the last epoch, from the newest checkpoint where there is one."""
        self._resume()
        with profiling(self.job) as stepped, interruption.deferring():
            while self.position.epoch < self.epochs:
                number = self.position.epoch + 1
                seconds = self._train_epoch(f"epoch {number}/{self.epochs}", stepped)
                with self._saving_at_once():
                    self._end_epoch()
                    due = number % self.cfg.trainer.validate_every == 0 or number == self.epochs
                    score = self._validate() if due else None
                self.log.end_epoch(self.position, seconds, score, best=self.position.best_epoch == number)
                self.position.epoch += 1
                self.position.step_in_epoch = 0
                self._save()
                self._leave_if_asked(agree(self.accelerator, False)[1])
        self.log.end(self.position)
        best, module = self.best_file(self.position.best_epoch), self.accelerator.unwrap_model(self.module)
        self.job.state.reset_buffers()  # one that first changed after the best epoch is not in its file
        if (digest := self.position.best_sha256) is not None:  # the first process has it
            check_sha256(best, digest, f"delete {self.root} to train the run afresh")
        overlay(module, read_weights(best, self.job.base, module), best)
        return self.position

    def best_file(self, epoch: int) -> Path:
        """The weights after `epoch` (1, 2, …). Named by epoch, so that each checkpoint's best stays as it was."""
        return self.root / f"best-epoch-{epoch:04d}.safetensors"

    # --- one epoch ----------------------------------------------------------------------------------------------

    def _train_epoch(self, title: str, stepped: Callable[[], None]) -> float:
        """Train to the epoch's end; returns the seconds that this took."""
        cfg, here = self.cfg.trainer, self.position
        self.log.begin_epoch()
        end = min(self.steps_per_epoch, self.total_steps - here.epoch * self.steps_per_epoch)
        if here.step_in_epoch == end:  # resumed after the last step
            return 0.0
        batches = train_batches(
            self.train_data, self.job.backbone.train_transform, self.task.collate, seed=self.cfg.seed,
            epoch=here.epoch, start=here.step_in_epoch, limit=self.steps_per_epoch, batch_size=self.batch_size,
            micro_batch=self.micro_batch, rank=self.accelerator.process_index, world=self.accelerator.num_processes,
            workers=cfg.workers, pin=self.accelerator.device.type == "cuda",
        )  # fmt: skip
        less_memory = for_training(self.cfg, self.batch_size // self.accelerator.num_processes, self.micro_batch)
        training_mode(self.module)
        started, first = time.monotonic(), here.step_in_epoch
        for _ in track(range(first, end), title, note=self.log.live, last=False, unit="steps"):
            with advising(f"at step {here.step + 1}", less_memory):
                self._step(batches)
            stepped()
            here.step += 1
            here.step_in_epoch += 1
            if here.step % self.cfg.log_every == 0:
                self._write_losses()
            if here.step_in_epoch in self.parts and here.step_in_epoch < end:
                self._write_omega()
            due, stop = agree(self.accelerator, self._checkpoint_is_due())
            if stop or (due and here.step_in_epoch < end):
                self._save()
            self._leave_if_asked(stop)
        seconds = time.monotonic() - started
        self.throughput.add((end - first) * self.batch_size, seconds)
        return seconds

    def _step(self, batches: Iterator[Batch]) -> None:
        """One optimizer step, its gradient accumulated over micro-batches."""
        total = torch.zeros((), device=self.accelerator.device)
        parts = next(batches).split(self.micro_batch)
        for k, part in enumerate(parts, 1):
            part = part.to(self.accelerator.device)
            last = contextlib.nullcontext() if k == len(parts) else self.accelerator.no_sync(self.module)
            with self.statistics.shared(), last:
                with self.accelerator.autocast():
                    loss = self.task.loss(self.module, part)
                self.accelerator.backward(loss / len(parts))
            total += loss.detach() / len(parts)
        self.log.add(total, max(self.scheduler.get_last_lr()))
        if (largest := self.cfg.trainer.clip_grad) is not None:
            self.accelerator.clip_grad_norm_(self.module.parameters(), largest)
        self.wrapped_optimizer.step()
        self.wrapped_optimizer.zero_grad()
        if self.after_step is not None and not self.accelerator.optimizer_step_was_skipped:
            self.after_step(self.position.step + 1)
        self.scheduler.step()

    def _validate(self) -> float:
        """Score ID validation, keep the weights of a new best; returns the score."""
        here = self.position
        score = self.job.evaluator.validate(self.module, self.validation_data)
        main = self.accelerator.is_main_process
        if main:
            self.job.metrics.write("val", epoch=here.epoch + 1, step=here.step, **{self.task.metric: score})
        if score > here.best_score:  # the first of equals
            here.best_epoch, here.best_score, here.best_sha256 = here.epoch + 1, score, None
            weights = gathered(self.job.state.get(), main)
            if main:
                best = self.best_file(here.best_epoch)
                here.best_sha256 = checkpoint.write_weights(best, weights, self.job.base)
        return score

    def _write_losses(self) -> None:
        self.log.write_losses(self.position, max(self.scheduler.get_last_lr()))

    def _write_omega(self) -> None:
        """Log ω of each layer, where the optimizer has one."""
        if (omega_report := getattr(self.optimizer, "omega_report", None)) is not None:
            self._write_layers(lambda: {name: {"omega": found["omega"]} for name, found in omega_report().items()})

    def _end_epoch(self) -> None:
        """Log the epoch's last losses and how far each layer has moved; weights that are not finite end the run."""
        self._write_losses()
        self._check_finite()
        self._write_layers(lambda: layer_report(self.job, self.optimizer))

    def _write_layers(self, report: Callable[[], dict[str, dict[str, float | None]]]) -> None:
        here, main = self.position, self.accelerator.is_main_process
        if main or is_sharded(self.job.backbone.module):  # shards are gathered by all
            tensors = report()
        if main:
            self.job.metrics.write("layers", epoch=here.epoch + 1, step=here.step, tensors=tensors)

    # --- checkpoints --------------------------------------------------------------------------------------------

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= 60 * self.cfg.trainer.checkpoint_minutes

    def _leave_if_asked(self, stop: signal.Signals | None) -> None:
        if stop:
            folder = self.job.run.checkpoint(self.position.step)
            raise Interrupted(stop, f"step {self.position.step} was saved in {folder}")

    @contextlib.contextmanager
    def _saving_at_once(self) -> Iterator[None]:
        """Save the state as it is here where what follows, which changes no weights, is interrupted: an epoch's end,
        which a resumed run repeats."""
        before = self._passing_state()
        try:
            yield
        except (Interrupted, RuntimeError):  # a collective fails where another rank has left already
            if (stop := interruption.asked()) is None or is_sharded(self.job.backbone.module):
                raise
            if self.accelerator.is_main_process:  # the others may be anywhere
                self._write(before, saved_tensors(self.job, self.optimizer))
            self._leave_if_asked(stop)

    def _save(self) -> None:
        self._check_finite()
        state, tensors = self._passing_state(), saved_tensors(self.job, self.optimizer)
        if self.accelerator.is_main_process:
            self._write(state, tensors)
        self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()

    def _passing_state(self) -> dict[str, Any]:
        """The part of the state that validation and logging change. All processes call it."""
        return {
            "rng": rng_state(self.accelerator),
            "position": asdict(self.position),
            "losses": self.log.losses.saved(),
            "metrics_size": self.job.metrics.size(),
        }

    def _write(self, passing: dict[str, Any], tensors: dict[str, Any]) -> None:
        """Write a checkpoint."""
        self.job.still_mine()
        scaler, here = self.accelerator.scaler, passing["position"]
        state = {
            **tensors,
            "scheduler": self.scheduler.state_dict(),
            "after_step": self.after_step.state_dict() if self.after_step else None,
            "scaler": scaler.state_dict() if scaler else None,
            **passing,
        }
        best = here["best_epoch"]
        weights = {} if best is None else {self.best_file(best).name: here["best_sha256"]}
        notes = {"run": self.identity, "base": self.job.base, "best_epoch": best, "weights": weights}
        checkpoint.save(self.root, here["step"], state, **notes)
        checkpoint.drop_weights(self.root)

    def _check_finite(self) -> None:
        """Raise DigrapError for weights that are not finite: no checkpoint is made of them."""
        self.log.losses.share()
        if not self.log.losses.finite():
            self._write_losses()
        if not all_finite(self.accelerator, self.module):
            raise DigrapError(f"weights are not finite at step {self.position.step}; {self.log.remedy()}")

    def _resume(self) -> None:
        state = checkpoint.load(self.root, self.job.base)
        if state is None:
            self.job.metrics.rewind(0)
            return
        overlay(self.accelerator.unwrap_model(self.module), state["module"], self.root)
        load_optimizer(self.optimizer, state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.after_step:
            self.after_step.load_state_dict(state["after_step"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        restore_rng(self.accelerator, state["rng"])
        self.position = Position(**state["position"])
        self.log.losses.put_back(state["losses"])
        log.info("resumed at step %d of epoch %d", self.position.step, self.position.epoch + 1)
        self.job.metrics.rewind(state["metrics_size"])
