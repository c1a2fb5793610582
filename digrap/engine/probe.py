"""Held-out batches for what a method learns beside the weights, in an order that a resumed run goes on with."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import Dataset, Subset

from digrap.engine.loaders import derive_seed, train_batches
from digrap.methods.trained import training_mode
from digrap.models.backbone import Backbone


class Probe:
    """The loss of the model with other weights on a numbered held-out batch; see `digrap.methods.method.Probe`."""

    def __init__(self, accelerator: Accelerator, backbone: Backbone, task: Any, data: Dataset, cfg: DictConfig):
        self.accelerator, self.backbone, self.task, self.data, self.cfg = accelerator, backbone, task, data, cfg
        self.micro_batch = min(cfg.trainer.micro_batch, len(data) // accelerator.num_processes)
        self.a_pass = len(data) // (self.micro_batch * accelerator.num_processes)  # batches
        self.expected, self.batches = None, iter(())

    def __call__(self, weights: dict[str, Tensor], index: int) -> Tensor:
        """The loss on batch `index` of this process, differentiable in `weights`."""
        module = self.backbone.module
        inputs, labels = (tensor.to(self.accelerator.device, non_blocking=True) for tensor in self._batch(index))

        def changed(*args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(module, weights, args, kwargs)

        was_training = module.training
        module.eval()
        try:
            with torch.enable_grad(), self.accelerator.autocast():
                return self.task.loss(changed, self.backbone.batch_transform(inputs), labels)
        finally:
            if was_training:
                training_mode(module)

    def mean(self, value: Tensor) -> Tensor:
        """`value` averaged over all processes."""
        return self.accelerator.reduce(value, reduction="mean") if self.accelerator.num_processes > 1 else value

    def _batch(self, index: int) -> Any:
        """Batch `index`, from the running loader where it is the next one."""
        epoch, start = divmod(index, self.a_pass)
        if index != self.expected or start == 0:
            trainer, accelerator = self.cfg.trainer, self.accelerator
            self.batches = train_batches(
                self.data, self.backbone.eval_transform, seed=derive_seed(self.cfg.seed, "probe"), epoch=epoch,
                start=start, limit=self.a_pass, micro_batch=self.micro_batch, rank=accelerator.process_index,
                world=accelerator.num_processes, workers=trainer.workers, pin=accelerator.device.type == "cuda",
            )  # fmt: skip
        self.expected = index + 1
        return next(self.batches)


def carve(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """`data` without a random `share` of it, and that share; the same for a seed."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(seed, "carve"))).tolist()
    kept = round(share * len(data))
    return Subset(data, sorted(order[kept:])), Subset(data, sorted(order[:kept]))
