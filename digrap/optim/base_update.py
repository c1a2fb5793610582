"""The base update: torch's own AdamW or SGD on a bucket, and where its step count is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.optimizer import _get_capturable_supported_devices
from torch.optim.sgd import sgd

from digrap.optim.bucket import Bucket

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer


def count_of(optimizer: AnchoredOptimizer, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> int:
    """The number of the parameter's step: 1, 2, …; 0 with capturable=True, where `step` is on the device and not read.

    Raises RuntimeError for capturable=True on a device where torch's optimizers refuse it.
    """
    if torch.compiler.is_compiling():
        return 0  # a number read here would cut the graph
    if not group["capturable"]:
        return int(state["step"]) + 1  # `step` is on the CPU: no synchronisation
    supported = _get_capturable_supported_devices()
    if not torch.compiler.is_compiling() and param.device.type not in supported:
        raise RuntimeError(
            f"{type(optimizer).__name__}: capturable=True, but parameter {optimizer.names()[param]} is on"
            f" {param.device}; torch supports it on {', '.join(supported)} only: leave it out"
        )
    if state["step"].device != param.device:
        state["step"] = state["step"].to(param.device)
    return 0


def take_step(bucket: Bucket, grads: list[Tensor]) -> None:
    """One step of AdamW or SGD with `grads`, in place; `step` is counted."""
    group = bucket.group
    shared = dict(
        foreach=group["foreach"],
        fused=bucket.fused,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        maximize=False,
    )
    if group["base"] == "adamw":
        beta1, beta2 = group["betas"]
        adamw(
            bucket.params, grads, bucket.gather("exp_avg"), bucket.gather("exp_avg_sq"), [], bucket.gather("step"),
            amsgrad=False, beta1=beta1, beta2=beta2, eps=group["eps"], capturable=group["capturable"], **shared,
        )  # fmt: skip
        return
    momentum, nesterov = group["momentum"], group["nesterov"]
    buffers = bucket.gather("momentum_buffer") if momentum else [None] * len(grads)
    if group["capturable"] and isinstance(group["lr"], Tensor) and not bucket.fused:
        _sgd_unread(bucket, grads, buffers)
    else:
        sgd(bucket.params, grads, buffers, momentum=momentum, dampening=0.0, nesterov=nesterov, **shared)
    bucket.count()


def _sgd_unread(bucket: Bucket, grads: list[Tensor], buffers: list[Tensor | None]) -> None:
    """SGD whose learning rate, a tensor, stays on the device: torch's own reads it."""
    group, params = bucket.group, bucket.params
    momentum, decay = group["momentum"], group["weight_decay"]
    if decay:
        grads = torch._foreach_add(grads, params, alpha=decay)
    if momentum:
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, grads)
        grads = torch._foreach_add(grads, buffers, alpha=momentum) if group["nesterov"] else buffers
    torch._foreach_sub_(params, torch._foreach_mul(grads, group["lr"].reshape(())))
