"""Held-out batches for what a method learns in addition to the weights, in an order that a resumed run continues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import torch
from accelerate import Accelerator
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import Dataset, Subset

from digrap.core.errors import DigrapError
from digrap.engine.loaders import Transformed, derive_seed, make_loader
from digrap.methods.trained import training_mode
from digrap.models.backbone import Backbone
from digrap.tasks.task import Batch, Task

SPAN = 1000  # batches a loader is made for: its processes are not restarted for every pass


class HeldOutBatches:
    """Gradients of the loss on numbered held-out batches; see `digrap.methods.method.HeldOut`.

    A batch has trainer.batch_size examples over all processes, whatever the micro-batch; fewer where the data has.
    """

    def __init__(self, accelerator: Accelerator, backbone: Backbone, task: Task, data: Dataset, cfg: DictConfig):
        self.accelerator, self.backbone, self.task, self.data, self.cfg = accelerator, backbone, task, data, cfg
        world, size = accelerator.num_processes, min(cfg.trainer.batch_size, len(data))
        self.micro_batch = min(cfg.trainer.micro_batch, size // world)
        if not self.micro_batch:
            raise DigrapError(
                f"optim={cfg.optim.name} learns from held-out batches, but {len(data)} held-out examples are too few "
                f"for {world} processes; give a larger optim.holdout or validation split"
            )
        self.parts = size // (self.micro_batch * world)  # micro-batches a batch
        self.next, self.batches = None, iter(())

    def gradient(self, weights: Callable[[], dict[str, Tensor]], wrt: Tensor, index: int) -> Tensor:
        """d loss / d `wrt` on batch `index`, averaged over its examples; `weights()` gives the model's weights."""
        total = torch.zeros_like(wrt)
        for part in range(self.parts):
            loss = self._loss(weights(), self._micro_batch(index * self.parts + part))
            (gradient,) = torch.autograd.grad(loss, [wrt])
            total += gradient / self.parts
        return self.accelerator.reduce(total, reduction="mean") if self.accelerator.num_processes > 1 else total

    def _loss(self, weights: dict[str, Tensor], batch: Batch) -> Tensor:
        """The loss in eval mode of the model with `weights` in place of its own."""
        module = self.backbone.module

        def changed(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(module, weights, args, kwargs)

        was_training = module.training
        module.eval()
        try:
            with torch.enable_grad(), self.accelerator.autocast():
                return self.task.loss(changed, batch.to(self.accelerator.device))
        finally:
            if was_training:
                training_mode(module)

    def _micro_batch(self, number: int) -> Batch:
        """Micro-batch `number` of this process, from the running loader where it is the next one."""
        if number != self.next or number % SPAN == 0:
            self.batches = self._loader(number)
        self.next = number + 1
        return next(self.batches)

    def _loader(self, start: int) -> Iterator[Batch]:
        data, trainer = self.data, self.cfg.trainer
        if self.backbone.eval_transform is not None:
            data = Transformed(data, self.backbone.eval_transform, 0)
        batches = [self._indices(number) for number in range(start, (start // SPAN + 1) * SPAN)]
        collate = partial(self.task.collate, train=True)
        return iter(make_loader(data, batches, collate, trainer.workers, self.accelerator.device.type == "cuda"))

    def _indices(self, number: int) -> list[int]:
        """The examples of micro-batch `number`: passes over all of the data, each in an order of its own."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        stride = self.micro_batch * world
        one_pass = len(self.data) // (stride * self.parts) * self.parts  # whole batches only
        epoch, place = divmod(number, one_pass)
        order = _order(len(self.data), derive_seed(self.cfg.seed, "probe", epoch))
        return order[place * stride + rank * self.micro_batch :][: self.micro_batch].tolist()


@lru_cache(maxsize=2)
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def hold_out(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """`data` without a random `fraction` of it, and that fraction; a seed decides which."""
    # The stream keeps its first name: another one would hold out other examples than earlier runs did.
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(seed, "carve"))).tolist()
    kept = round(fraction * len(data))
    return Subset(data, sorted(order[kept:])), Subset(data, sorted(order[:kept]))
