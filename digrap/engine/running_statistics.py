"""Batch norm's running statistics over several processes: those of one process that sees all micro-batches in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class RunningStatistics:
    """Shares what a micro-batch did to the running statistics of a model among all processes.

    A micro-batch with the statistics s makes of r, with d = 1 − momentum: d r + (1 − d) s. Process j of W knows its
    outcome r_j alone; one process would have made all W updates in turn:

        r' = Σ_j d^(W−1−j) r_j + (d^W − d Σ_j d^(W−1−j)) r

    Layers that average over all batches (momentum=None) keep the first process's statistics.
    """

    def __init__(self, module: nn.Module, accelerator: Accelerator):
        self.accelerator, self.world = accelerator, accelerator.num_processes
        self.layers = [
            layer
            for layer in (module.modules() if self.world > 1 else ())
            if isinstance(layer, _NormBase)
            and not isinstance(layer, nn.SyncBatchNorm)  # has those of all processes
            and layer.running_mean is not None
            and layer.momentum is not None
        ]

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Share what happens within, one micro-batch in every process."""
        layers = [layer for layer in self.layers if layer.training]
        before = [buffer.clone() for layer in layers for buffer in (layer.running_mean, layer.running_var)]
        yield
        if layers:
            self._share(layers, before)

    @torch.no_grad()
    def _share(self, layers: list[nn.Module], before: list[torch.Tensor]) -> None:
        world, place = self.world, self.accelerator.process_index
        kept = [1 - layer.momentum for layer in layers for _ in range(2)]
        buffers = [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var)]
        mine = [d ** (world - 1 - place) * buffer for d, buffer in zip(kept, buffers, strict=True)]
        total = self.accelerator.reduce(torch.cat([part.flatten() for part in mine]), reduction="sum")
        sums = total.split([buffer.numel() for buffer in buffers])
        for d, buffer, old, whole in zip(kept, buffers, before, sums, strict=True):
            rest = d**world - d * sum(d ** (world - 1 - j) for j in range(world))
            buffer.copy_(whole.view_as(buffer) + rest * old)
        for layer in layers:
            layer.num_batches_tracked += world - 1
