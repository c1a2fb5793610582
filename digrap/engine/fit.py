"""The training loop, resumable at any optimizer step, best epoch kept."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_method
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch.optim.lr_scheduler import LambdaLR

from digrap.core.errors import DigrapError
from digrap.core.progress import track
from digrap.engine import checkpoint
from digrap.engine.build import worded
from digrap.engine.evaluate import predict_split
from digrap.engine.job import Job
from digrap.engine.loaders import train_batches
from digrap.engine.rng import restore_rng, rng_state
from digrap.methods.trained import choose_trained, training_mode
from digrap.optim import param_groups

log = logging.getLogger(__name__)


@dataclass
class Position:
    """Where training stands; `step` counts optimizer steps, `best_*` the best epoch on ID validation."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_epoch: int | None = None
    best_score: float = -math.inf


class Fit:
    """Fine-tunes `backbone.module` in place and leaves it with the weights of its best ID-validation epoch."""

    def __init__(self, job: Job):
        cfg, backbone, method = job.cfg, job.backbone, job.method
        self.cfg, self.accelerator, self.backbone, self.task = cfg, job.accelerator, backbone, job.task
        self.metrics, self.root = job.metrics, job.checkpoints
        self.train_data, self.validation_data = job.data.train, job.data.validation
        self.accumulation = self._accumulation()
        self.steps_per_epoch = len(self.train_data) // cfg.trainer.batch_size  # an incomplete last batch is left out
        if not self.steps_per_epoch:
            raise DigrapError(
                f"trainer.batch_size={cfg.trainer.batch_size} is more than the {len(self.train_data)} examples to "
                "train on; give a smaller one"
            )
        with worded(method.name):
            choose_trained(backbone.module, method.trains, backbone.head)
            self.optimizer = method.optimizer(param_groups(backbone.module, unanchored=backbone.unanchored))
        schedule = OmegaConf.to_container(cfg.schedule)
        factor = get_method(schedule.pop("_target_"))(
            base_lr=cfg.trainer.base.lr, steps_per_epoch=self.steps_per_epoch, epochs=cfg.trainer.epochs, **schedule
        )
        self.scheduler = LambdaLR(self.optimizer, factor)
        self.module, self.wrapped_optimizer = job.accelerator.prepare(backbone.module, self.optimizer)
        with worded(method.name):
            self.after_step = method.after_step(job.context()) if method.after_step else None
        self.position = Position()
        self.losses: list[torch.Tensor] = []  # since the last line of metrics; read from the device there only
        self.saved_at = time.monotonic()

    def _accumulation(self) -> int:
        """Micro-batches per optimizer step: the micro-batch stays as the recipe says whatever the devices."""
        trainer, world = self.cfg.trainer, self.accelerator.num_processes
        share, rest = divmod(trainer.batch_size, min(trainer.micro_batch, trainer.batch_size) * world)
        if rest or not share:
            raise DigrapError(
                f"trainer.batch_size={trainer.batch_size} is no multiple of trainer.micro_batch={trainer.micro_batch} "
                f"× {world} processes; choose numbers that divide"
            )
        return share

    def run(self) -> Position:
        """Train to the last epoch, from the newest checkpoint where there is one."""
        self._resume()
        epochs = self.cfg.trainer.epochs
        while self.position.epoch < epochs:
            number = self.position.epoch + 1
            self._train_epoch(f"epoch {number}/{epochs}")
            self._end_epoch()
            if number % self.cfg.trainer.validate_every == 0 or number == epochs:
                self._validate()
            self.position.epoch += 1
            self.position.step_in_epoch = 0
            self._save()
        weights = load_file(self.best_file(self.position.best_epoch))
        self.accelerator.unwrap_model(self.module).load_state_dict(weights)
        return self.position

    def best_file(self, epoch: int) -> Path:
        """The weights after `epoch` (1, 2, …). Named by epoch, so that each checkpoint's best stays as it was."""
        return self.root / f"best-epoch-{epoch:04d}.safetensors"

    # --- one epoch ----------------------------------------------------------------------------------------------

    def _train_epoch(self, title: str) -> None:
        cfg, here = self.cfg.trainer, self.position
        micro = min(cfg.micro_batch, cfg.batch_size)
        batches = train_batches(
            self.train_data, self.backbone.train_transform, seed=self.cfg.seed, epoch=here.epoch,
            start=here.step_in_epoch * self.accumulation, limit=self.steps_per_epoch * self.accumulation,
            micro_batch=micro, rank=self.accelerator.process_index, world=self.accelerator.num_processes,
            workers=cfg.workers, pin=self.accelerator.device.type == "cuda",
        )  # fmt: skip
        training_mode(self.module)
        for _ in track(range(here.step_in_epoch, self.steps_per_epoch), title):
            self._step(batches)
            here.step += 1
            here.step_in_epoch += 1
            if here.step % self.cfg.log_every == 0:
                self._log_losses()
            if self._checkpoint_is_due() and here.step_in_epoch < self.steps_per_epoch:
                self._save()

    def _step(self, batches: Any) -> None:
        """One optimizer step over `accumulation` micro-batches."""
        total = torch.zeros((), device=self.accelerator.device)
        for k in range(self.accumulation):
            inputs, labels = (tensor.to(self.accelerator.device, non_blocking=True) for tensor in next(batches))
            last = k == self.accumulation - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.module):
                with self.accelerator.autocast():
                    loss = self.task.loss(self.module, self.backbone.batch_transform(inputs), labels)
                self.accelerator.backward(loss / self.accumulation)
            total += loss.detach() / self.accumulation
        self.losses.append(total)
        self.wrapped_optimizer.step()
        self.wrapped_optimizer.zero_grad()
        if self.after_step is not None and not self.accelerator.optimizer_step_was_skipped:
            self.after_step(self.position.step + 1)
        self.scheduler.step()

    def _validate(self) -> None:
        """Score ID validation, keep the weights of a new best."""
        here = self.position
        predictions, labels = predict_split(
            self.accelerator, self.module, self.backbone, self.task, self.validation_data, "validate", self.cfg
        )
        score = self.task.score(predictions, labels)[self.task.metric]
        main = self.accelerator.is_main_process
        if main:
            self.metrics.write("val", epoch=here.epoch + 1, step=here.step, **{self.task.metric: score})
        if score > here.best_score:  # the first of equals
            here.best_epoch, here.best_score = here.epoch + 1, score
            if main:
                self._write_best()

    def _write_best(self) -> None:
        epoch = self.position.best_epoch
        weights = self.accelerator.unwrap_model(self.module).state_dict()
        checkpoint.write_weights(self.best_file(epoch), weights, epoch=str(epoch))

    def _log_losses(self) -> None:
        """Write the mean loss since the last line. Raises DigrapError at the first loss that is not finite."""
        if not self.losses:
            return
        values, first = torch.stack(self.losses).tolist(), self.position.step - len(self.losses) + 1
        self.losses.clear()
        for step, value in enumerate(values, first):
            if not math.isfinite(value):
                raise DigrapError(
                    f"the loss is {value} at step {step}; {checkpoint.last_good(self.root)}. "
                    "A smaller trainer.base.lr is the usual cure."
                )
        here = self.position
        if self.accelerator.is_main_process:
            self.metrics.write(
                "train", step=here.step, epoch=here.epoch + here.step_in_epoch / self.steps_per_epoch,
                loss=sum(values) / len(values), lr=self.scheduler.get_last_lr()[0],
            )  # fmt: skip

    def _end_epoch(self) -> None:
        """Log the epoch's last losses, and ω by parameter where the optimizer has it; spoilt weights end the run."""
        self._log_losses()
        self._check_finite()
        report = getattr(self.optimizer, "omega_report", None)
        if report and self.accelerator.is_main_process:
            here = self.position
            self.metrics.write("omega", epoch=here.epoch + 1, step=here.step, tensors=report())

    # --- checkpoints --------------------------------------------------------------------------------------------

    def _checkpoint_is_due(self) -> bool:
        due = time.monotonic() - self.saved_at >= 60 * self.cfg.trainer.checkpoint_minutes
        if self.accelerator.num_processes > 1:  # one clock decides
            due = bool(self.accelerator.reduce(torch.tensor(float(due), device=self.accelerator.device)))
        return due

    def _save(self) -> None:
        self._check_finite()
        states = rng_state(self.accelerator)
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "module": self.accelerator.unwrap_model(self.module).state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "after_step": self.after_step.state_dict() if self.after_step else None,
                "scaler": scaler.state_dict() if scaler else None,
                "rng": states,
                "position": asdict(self.position),
                "losses": [loss.cpu() for loss in self.losses],
                "metrics_size": self.metrics.size(),
            }
            checkpoint.save(self.root, self.position.step, state, best_epoch=self.position.best_epoch)
            self._drop_old_bests()
        self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()

    def _check_finite(self) -> None:
        """A checkpoint is never made of weights that are spoilt, by a non-finite loss or after the step."""
        if self.losses and not torch.stack(self.losses).isfinite().all():
            self._log_losses()
        whole = [param.detach().isfinite().all() for param in self.module.parameters() if param.requires_grad]
        if not torch.stack(whole).all():
            raise DigrapError(
                f"weights are not finite at step {self.position.step}; {checkpoint.last_good(self.root)}. "
                "A smaller trainer.base.lr is the usual cure."
            )

    def _drop_old_bests(self) -> None:
        """Keep the best weights that one of the kept checkpoints refers to."""
        epochs = {checkpoint.manifest(folder)["best_epoch"] for folder in checkpoint.folders(self.root)}
        keep = {self.best_file(epoch) for epoch in epochs if epoch is not None}
        for file in self.root.glob("best-epoch-*.safetensors"):
            if file not in keep:
                file.unlink()

    def _resume(self) -> None:
        state = checkpoint.load(self.root)
        if state is None:
            self.metrics.rewind(0)
            return
        self.accelerator.unwrap_model(self.module).load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.after_step:
            self.after_step.load_state_dict(state["after_step"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        restore_rng(self.accelerator, state["rng"])
        self.position = Position(**state["position"])
        self.losses = [loss.to(self.accelerator.device) for loss in state["losses"]]
        log.info("resumed at step %d of epoch %d", self.position.step, self.position.epoch + 1)
        self.metrics.rewind(state["metrics_size"])
