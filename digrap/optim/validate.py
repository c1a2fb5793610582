"""Checks of arguments, hyper-parameters, parameters and anchors; each raises a ValueError with the reason."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from digrap.optim.options import UNSUPPORTED

BASES = ("adamw", "sgd")
INTERNAL = ("self", "defaults", "common", "symbols", "args", "kwargs")  # no arguments of a user's
ANCHORS = ("init", "zero", "none")


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


def check_named(cls: type, symbols: Mapping[str, Any]) -> None:
    """Refuse arguments, with a TypeError as Python does, that no `__init__` of the class and its parents names."""
    makers = [parent.__init__ for parent in cls.__mro__ if "__init__" in vars(parent)]
    named = {name: None for make in makers for name in inspect.signature(make).parameters if name not in INTERNAL}
    if unknown := [key for key in symbols if key not in named]:
        near = difflib.get_close_matches(unknown[0], named, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise TypeError(f"{cls.__name__} has no argument {unknown[0]!r}; {meant}it takes {', '.join(named)}")


def check_keys(group: dict[str, Any], known: Iterable[str]) -> None:
    """Refuse keys of a group that are almost an option. Others are left alone: schedulers and frameworks add theirs."""
    known = {*known, "params", "param_names", "bounded_anchor"}
    for key in group:
        if key not in known and (near := difflib.get_close_matches(key, known, n=1, cutoff=0.85)):
            raise ValueError(f"a group has {key!r}, which is not an option; did you mean {near[0]!r}?")


def check_base(given: dict[str, Any], bases: set[str], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse values in `given` other than the defaults for options of a base that is not among `bases`, those in use.
    `options` are those of each base with their defaults."""
    for base, own in options.items():
        for key, default in own.items():
            value = given.get(key, default)
            if base not in bases and (tuple(value) if isinstance(value, list) else value) != default:
                used = " and ".join(map(repr, sorted(bases)))
                raise ValueError(f"{key}={given[key]} has no effect with base={used}; it belongs to base={base!r}")


def check_common(group: dict[str, Any]) -> None:
    """Refuse a group in which an option that all rules share is out of range; it has the options of both bases."""
    lr = group["lr"]
    if lost := [f"{key}={group[key]}" for key in UNSUPPORTED if group.get(key)]:
        raise ValueError(f"a group has {lost[0]}, which no rule supports; leave it out")
    if group["fused"] and group["foreach"]:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together")
    if isinstance(lr, Tensor):
        if group["foreach"] and not group["capturable"]:
            raise ValueError("lr as a Tensor is not supported with foreach=True and capturable=False")
        if lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
    else:
        at_least_zero(lr=lr)
    at_least_zero(eps=group["eps"], weight_decay=group["weight_decay"], momentum=group["momentum"])
    if not isinstance(group["betas"], (tuple, list)) or len(group["betas"]) != 2:
        raise ValueError(f"betas={group['betas']!r} is not a pair of numbers")
    for index, beta in enumerate(group["betas"]):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {index}: {beta} (0 ≤ beta < 1)")
    one_of("base", group["base"], BASES)
    if isinstance(group["anchor"], str):
        one_of("anchor", group["anchor"], ANCHORS)
    if group["nesterov"] and not group["momentum"] > 0:
        raise ValueError("Nesterov momentum requires a momentum > 0")


def check_params(params: list[Tensor]) -> None:
    """Refuse complex parameters that train. Frozen ones may be anything, as the packed weights of QLoRA are."""
    for index, param in enumerate(params):
        if param.requires_grad and not param.is_floating_point():
            raise ValueError(f"parameter {index} is {param.dtype}; only real floating point parameters are supported")


def given_anchors(anchor: Any) -> list[Tensor]:
    """`anchor` as a list of tensors; refuses what is neither one of the names nor several tensors."""
    if isinstance(anchor, (Tensor, Mapping)) or not isinstance(anchor, Iterable):
        raise ValueError(
            f"anchor is a {type(anchor).__name__}; give 'init', 'zero', 'none' or a list of tensors, one for each "
            "parameter (by name: param_groups(model, anchors=…))"
        )
    anchors = list(anchor)
    for index, value in enumerate(anchors):
        if not isinstance(value, Tensor):
            raise ValueError(f"anchor {index} is a {type(value).__name__}, not a tensor")
    return anchors


def check_given(params: list[Tensor], anchors: list[Tensor], names: Sequence[str] | None = None) -> None:
    """Refuse anchors whose number or shapes are not those of the parameters. `names` are the parameters', if known."""
    if len(anchors) != len(params):
        raise ValueError(f"anchor: {len(anchors)} tensors were given for {len(params)} parameters of the group")
    for index, (param, anchor) in enumerate(zip(params, anchors, strict=True)):
        if is_lazy(param):
            raise ValueError(f"anchor {index}: its parameter has no shape yet; run the lazy module once before")
        if anchor.shape != param.shape:
            whose = f"its parameter {names[index]}" if names else "its parameter"
            raise ValueError(f"anchor {index} has shape {tuple(anchor.shape)} but {whose} has {tuple(param.shape)}")
