"""Cost of an optimizer's step relative to torch's AdamW, on the tensors of a run's own model."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
from omegaconf import DictConfig

from digrap.engine.build import build_backbone, build_data, build_method
from digrap.models.backbone import Backbone
from digrap.optim import param_groups

WARM_UP = 5  # rounds that are not counted


def step_costs(configs: dict[str, DictConfig], rounds: int = 100) -> dict[str, float]:
    """Return step time over that of torch's fused AdamW, with one thread, for every config that has an optimizer.

    It is the median over rounds; each round steps all optimizers in turn, so that a busy machine slows them alike.
    """
    torch.set_num_threads(1)
    some = next(iter(configs.values()))
    backbone = build_backbone(some, build_data(some).classes)
    generator, optimizers = torch.Generator().manual_seed(0), {}
    for row, cfg in configs.items():
        if make_optimizer := build_method(cfg).optimizer:
            optimizers[row] = _with_gradients(make_optimizer, backbone, generator)
    reference = _with_gradients(lambda groups: torch.optim.AdamW(groups, fused=True), backbone, generator)
    ratios = {row: [] for row in optimizers}
    for _ in range(WARM_UP + rounds):
        times = {row: _timed(optimizer) for row, optimizer in optimizers.items()}
        adamw = _timed(reference)
        for row, seconds in times.items():
            ratios[row].append(seconds / adamw)
    return {row: statistics.median(values[WARM_UP:]) for row, values in ratios.items()}


def _with_gradients(
    make_optimizer: Callable[[list[dict]], torch.optim.Optimizer], backbone: Backbone, generator: torch.Generator
) -> torch.optim.Optimizer:
    module = copy.deepcopy(backbone.module)
    for param in module.parameters():
        param.grad = torch.randn(param.shape, generator=generator) * 1e-3
    return make_optimizer(param_groups(module, unanchored=backbone.unanchored))


def _timed(optimizer: torch.optim.Optimizer) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - start
