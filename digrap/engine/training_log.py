"""The numbers of training that metrics.jsonl and the terminal get: losses, validation scores, one line per epoch."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import torch

from digrap.config.schema import CLASSIFICATION, task_of
from digrap.core.counted import counted
from digrap.core.errors import DigrapError
from digrap.engine import checkpoint
from digrap.engine.job import Job
from digrap.engine.losses import Losses

if TYPE_CHECKING:
    from digrap.engine.fit import Position

RECENT = 20  # losses whose mean a bar shows
DEVIATIONS = 2  # a score that many of them above chance is above it
FEW_STEPS = 10  # an epoch: a smaller batch makes more of them
log = logging.getLogger(__name__)


class TrainingLog:
    """Losses stay on the device until they are written; all processes call the same methods at the same steps."""

    def __init__(self, job: Job, steps_per_epoch: int, epochs: int):
        self.job, self.steps_per_epoch, self.epochs = job, steps_per_epoch, epochs
        self.losses = Losses(job.accelerator)
        self.main = job.accelerator.is_main_process
        self.begin_epoch()

    def begin(self, batch_size: int) -> None:
        """Say what trains on what: examples, classes, steps and parameters."""
        job, wanted = self.job, self.job.cfg.trainer.batch_size
        things = "training picture" if task_of(job.cfg) == CLASSIFICATION else "training question"
        classes = job.data.source.classes
        of = f" in {counted(len(classes), 'class', 'classes')}" if classes else ""
        shrunk = f" (batch size {batch_size} instead of {wanted})" if batch_size < wanted else ""
        sizes = [(_size(param), param.requires_grad) for param in job.backbone.module.parameters()]
        trained, whole = sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
        log.info(
            "%s%s, %s per epoch%s, %s M of %s M parameters trainable", counted(len(job.data.train), things), of,
            counted(self.steps_per_epoch, "step"), shrunk, _millions(trained), _millions(whole),
        )  # fmt: skip

    def begin_epoch(self) -> None:
        """Forget the numbers of the epoch before, or of an earlier start in this one."""
        self.written: list[float] = []
        self.lr, self.began, self.steps = math.nan, time.monotonic(), 0

    def live(self) -> str:
        """The numbers of the present steps, for a bar. It waits for the device."""
        waiting = self.losses.values[-RECENT:]
        return _loss(torch.stack(waiting).tolist() if waiting else self.written[-RECENT:]) + self._rate()

    def _rate(self) -> str:
        return "" if math.isnan(self.lr) else f"  lr {self.lr:.2g}"

    def add(self, loss: torch.Tensor, lr: float) -> None:
        """Keep this process's loss of a step, made with the learning rate `lr`."""
        self.losses.add(loss)
        self.lr = lr
        self.steps += 1

    def write_losses(self, here: Position, lr: float) -> None:
        """Write the mean loss since the last line. Raises DigrapError at the first loss that is not finite."""
        if not self.losses:
            return
        first = here.step - len(self.losses) + 1
        values = self.losses.take()
        for step, value in enumerate(values, first):
            if not math.isfinite(value):
                raise DigrapError(f"the loss is {value} at step {step}; {self.remedy()}")
        self.written += values
        if self.main:
            self.job.metrics.write(
                "train", step=here.step, epoch=here.epoch + here.step_in_epoch / self.steps_per_epoch,
                loss=sum(values) / len(values), lr=lr,
            )  # fmt: skip

    def remedy(self) -> str:
        """What helps against numbers that are not finite, as a sentence's end."""
        last = checkpoint.last_good(self.job.run.checkpoints)
        return f"{last}. A smaller trainer.base.lr is the usual fix."

    def end_epoch(self, here: Position, trained_s: float, score: float | None, best: bool) -> None:
        """Say how the epoch went: its mean loss, ID validation where it was scored, learning rate, speed, and the
        most memory that the device has held."""
        rate = f"  {self.steps / trained_s:.3g} steps/s" if trained_s > 0 and self.steps else ""
        val = "" if score is None else f"  val {score:.1f}" + (" (best)" if best else "")
        held = self.job.memory.whole().get("device_mb")
        memory = "" if held is None else f"  {held / 1000:.1f} GB"
        numbers = f"{_loss(self.written)}{val}{self._rate()}{rate}{memory}"
        log.info("epoch %d/%d%s", here.epoch + 1, self.epochs, numbers)

    def end(self, here: Position) -> None:
        """Warn of a run that has learnt nothing, or was best at its first validation; not of a smoke run."""
        if self.job.cfg.trainer.smoke:
            return
        few = self.steps_per_epoch < FEW_STEPS
        n, chance = len(self.job.data.validation), self.job.task.chance
        smaller = f", a smaller trainer.batch_size (now {self.job.cfg.trainer.batch_size})," if few else ","
        if chance is not None and here.best_score <= chance + DEVIATIONS * math.sqrt(chance * (100 - chance) / n):
            log.warning(
                "ID validation is %.1f %%, and guessing scores %.1f %%: this run has learnt next to nothing; try "
                "another trainer.base.lr, more trainer.epochs%s or another backbone", here.best_score, chance, smaller,
            )  # fmt: skip
        elif here.best_score == 0:
            log.warning(
                "ID validation is 0 %%: not one answer is right; the answers above show what the model says: another "
                "backbone.prompt, trainer.base.lr, or more trainer.epochs%s may help", smaller.removesuffix(","),
            )  # fmt: skip
        elif here.best_epoch == self.job.cfg.trainer.validate_every and here.best_epoch < self.epochs:
            log.warning(
                "the best epoch is %d, the first that was validated, and no later one was better; a smaller "
                "trainer.base.lr is the usual fix", here.best_epoch,
            )  # fmt: skip


def _loss(losses: list[float]) -> str:
    return f"  loss {sum(losses) / len(losses):.4g}" if losses else ""


def _size(param: torch.Tensor) -> int:
    """The number of values; of weights in 4 bits, two of which share a byte, those that they stand for."""
    state = getattr(param, "quant_state", None)
    return param.numel() if state is None else math.prod(state.shape)


def _millions(count: int) -> str:
    return f"{count / 1e6:.3g}" if count < 1e9 else f"{count / 1e6:,.0f}"
