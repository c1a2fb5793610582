"""Checks of hyper-parameters, parameters and anchors; each raises a ValueError with the reason."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor


def at_least_zero(**values: float) -> None:
    """Refuse values that are not finite numbers ≥ 0."""
    for name, value in values.items():
        if isinstance(value, (str, bool)):
            raise ValueError(f"Invalid {name}: {name}={value!r} is not a number")
        if not (value >= 0.0 and math.isfinite(value)):
            label = "learning rate" if name == "lr" else name
            raise ValueError(f"Invalid {label}: {name}={value} (a finite number ≥ 0 is needed)")


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a value outside of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")


def check_params(params: list[Tensor]) -> None:
    """Refuse complex and integer parameters."""
    for index, param in enumerate(params):
        if not param.is_floating_point():
            raise ValueError(f"parameter {index} is {param.dtype}; only real floating point parameters are supported")


def check_given(params: list[Tensor], anchors: list[Tensor]) -> None:
    """Refuse anchors whose number or shapes are not those of the parameters."""
    if len(anchors) != len(params):
        raise ValueError(f"anchor: {len(anchors)} tensors were given for {len(params)} parameters of the group")
    for index, (param, anchor) in enumerate(zip(params, anchors, strict=True)):
        if anchor.shape != param.shape:
            raise ValueError(
                f"anchor {index} has shape {tuple(anchor.shape)} but its parameter has {tuple(param.shape)}"
            )
