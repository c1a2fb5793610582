"""low_memory=True: δ of the previous step is rebuilt from the parameters and the moments instead of being kept.

The base update of AdamW is undone with the numbers of the parameter's own last step,

    θ_{t−1} = (θ_t + α/(1−β1^t) · m / (√v/√(1−β2^t) + ε)) / (1 − α·wd),        SGD with momentum: θ_{t−1} = θ_t + α m,

which holds as long as nothing but the optimizer writes to θ. A sum over the bits of θ after each step tells whether
something did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from digrap.optim.bucket import Bucket

LAST = ("last_decay", "last_size", "last_root", "last_eps")  # numbers of a parameter's last step
BITS = {4: torch.int32, 8: torch.int64}


def check(group: dict[str, Any]) -> None:
    """Raise ValueError where the step of a group cannot be undone."""
    if group["base"] == "sgd" and (group["nesterov"] or not group["momentum"]):
        raise ValueError(
            "low_memory=True rebuilds the previous parameters from the momentum: it needs base='adamw', or base='sgd' "
            "with momentum and without nesterov"
        )
    if group["capturable"]:
        raise ValueError("low_memory=True does not work with capturable=True")


def check_dtype(param: Tensor) -> None:
    """Raise ValueError for parameters whose rounding hides their step."""
    if param.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"low_memory=True cannot undo a step of {param.dtype} parameters, which round it away")


@contextmanager
def rebuilt(bucket: Bucket, prints: dict[Tensor, Tensor]) -> Iterator[None]:
    """While a step is taken: δ of the previous step stands in the states as "delta". Afterwards the numbers of this
    step are kept instead, and the parameters' fingerprints in `prints`."""
    for param, state in zip(bucket.params, bucket.states, strict=True):
        state["delta"] = _previous_delta(param, state, bucket) if bucket.step > 1 else torch.zeros_like(param)
    yield
    numbers = _numbers(bucket)
    for param, state in zip(bucket.params, bucket.states, strict=True):
        del state["delta"]
        for key, value in zip(LAST, numbers, strict=True):
            state[key].fill_(value)
        prints[param] = fingerprint(param)


def _numbers(bucket: Bucket) -> tuple[Any, ...]:
    """`LAST` of the step that was taken."""
    group = bucket.group
    if group["base"] == "sgd":
        return 1.0, group["lr"], 1.0, 0.0
    beta1, beta2 = group["betas"]
    size = group["lr"] / (1 - beta1**bucket.step)
    return 1 - group["lr"] * group["weight_decay"], size, sqrt(1 - beta2**bucket.step), group["eps"]


def _previous_delta(param: Tensor, state: dict[str, Any], bucket: Bucket) -> Tensor:
    decay, size, root, eps = (state[key] for key in LAST)
    if bucket.group["base"] == "sgd":
        moved = state["momentum_buffer"] * size
    else:
        moved = state["exp_avg_sq"].sqrt().div_(root).add_(eps).reciprocal_().mul_(state["exp_avg"]).mul_(size)
    previous = moved.add_(param).div_(decay)
    return previous.sub_(state["anchor"]) if "anchor" in state else previous


def fingerprint(param: Tensor) -> Tensor:
    """The sum of the parameter's bits, read as integers: 0-dim."""
    return param.detach().reshape(-1).view(BITS[param.element_size()]).sum(dtype=torch.int64)
