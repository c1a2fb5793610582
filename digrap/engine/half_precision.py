"""Weights that are held in half precision and train: fp16, which loses gradients, and steps too small for bf16."""

from __future__ import annotations

import logging

import torch
from omegaconf import DictConfig
from torch import nn

from digrap.core.errors import DigrapError

SAMPLE = 1000  # values of each tensor that are looked at
log = logging.getLogger(__name__)


def check_half_precision(module: nn.Module, cfg: DictConfig) -> None:
    """Raise DigrapError where weights in fp16 train. Warn where most of the weights in bf16 that
    train would stay as they are after a step of AdamW of trainer.base.lr."""
    trained = [param for param in module.parameters() if param.requires_grad]
    if any(param.dtype == torch.float16 for param in trained):
        raise DigrapError(
            f"backbone.dtype=fp16: optim={cfg.optim.name} peft={cfg.peft.name} trains weights held in fp16, where "
            "small gradients and AdamW's ε are 0; give backbone.dtype=bf16, or backbone.dtype=fp32 "
            "trainer.precision=fp16 (adapters are fp32 by themselves)"
        )
    rounded = [param for param in trained if param.dtype == torch.bfloat16]
    if cfg.trainer.base.name != "adamw" or not rounded:
        return
    lr = cfg.trainer.base.lr
    lost = sum(_share_that_stays(param, lr) * param.numel() for param in rounded)
    if (share := lost / sum(param.numel() for param in rounded)) > 0.5:
        log.warning(
            "a step of trainer.base.lr=%g is too small for %.0f %% of the trained weights, which bf16 rounds back to "
            "what they were; backbone.dtype=fp32 trainer.precision=bf16 keeps such steps, with twice the memory of "
            "weights and optimizer", lr, 100 * share,
        )  # fmt: skip


@torch.no_grad()
def _share_that_stays(param: nn.Parameter, lr: float) -> float:
    """The share of a tensor's values that a step of `lr` towards zero, the finer side, leaves as they are."""
    values = param.detach().flatten()[:: max(1, param.numel() // SAMPLE)]
    moved = (values.float() - lr * values.float().sign()).to(values.dtype)
    return (moved == values).float().mean().item()
