"""Plain fine-tuning with torch's own optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer


def torch_optimizer(
    params: list[dict[str, Any]],
    *,
    base: str,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    momentum: float,
    nesterov: bool,
    anchor: str,
) -> Optimizer:
    """torch.optim.AdamW or SGD over `params`, by `base`.

    Of the options that every method gets from the trainer, each takes those that it knows; `anchor` has no effect.
    Raises ValueError for another `base` or a value that torch refuses.
    """
    if base == "adamw":
        return torch.optim.AdamW(params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
    if base == "sgd":
        return torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    raise ValueError(f"base={base!r} is not one of 'adamw', 'sgd'")
