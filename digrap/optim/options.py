"""The options of parameter groups: those of the base in use, and those that a checkpoint lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer

OF_BASE: dict[str, dict[str, Any]] = {
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8},
    "sgd": {"momentum": 0.0, "nesterov": False},
}
IMPLEMENTATION: dict[str, Any] = {"foreach": None, "fused": None, "capturable": False}
SHARED = {"lr", "weight_decay", "differentiable", *OF_BASE["adamw"], *OF_BASE["sgd"]}  # with torch's optimizers
UNSUPPORTED = ("maximize", "amsgrad", "dampening")  # options of torch's optimizers that change what a step does
IN_PLACE = ("params", "param_names")  # torch itself carries these over to a loaded group


def keep_used(group: dict[str, Any]) -> None:
    """Delete the options of the other base from a group: schedulers would cycle them in place of the used ones."""
    for base, options in OF_BASE.items():
        if base != group["base"]:
            for key in options:
                group.pop(key, None)


def advertise(optimizer: AnchoredOptimizer) -> None:
    """Put into `defaults` the options of the base that all groups use, and of no base where the groups differ.

    OneCycleLR and CyclicLR decide by them whether to cycle `betas` or `momentum`. With neither they raise a ValueError
    that names `cycle_momentum`, as they can cycle only one of the two in all groups.
    """
    bases = {group["base"] for group in optimizer.param_groups}
    for base, options in OF_BASE.items():
        for key in options:
            optimizer.defaults.pop(key, None)
            if bases == {base}:
                optimizer.defaults[key] = optimizer.of_base[key]


def unpickled(optimizer: AnchoredOptimizer) -> None:
    """Add what an optimizer pickled by an older version lacks."""
    defaults, every = optimizer.defaults, OF_BASE["adamw"] | OF_BASE["sgd"]
    if "of_base" not in vars(optimizer):
        optimizer.of_base = {key: defaults.get(key, value) for key, value in every.items()}
    for options in (defaults, *optimizer.param_groups):
        for key, value in IMPLEMENTATION.items():
            options.setdefault(key, value)
    for group in optimizer.param_groups:
        for key in OF_BASE[group["base"]]:
            group.setdefault(key, optimizer.of_base[key])
        keep_used(group)
    advertise(optimizer)


def merged(optimizer: AnchoredOptimizer, own: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """A saved group whose gaps are filled from the group that it is loaded into.

    A group of another optimizer, such as torch's AdamW, speaks for the base alone: its `fused` was meant for another
    step, its `lam` for another rule. Raises ValueError for options of it that no rule can follow.
    """
    rule = optimizer.defaults.keys() - SHARED
    foreign = not rule - IMPLEMENTATION.keys() <= saved.keys()
    if foreign and (lost := [f"{key}={saved[key]}" for key in UNSUPPORTED if saved.get(key)]):
        name = type(optimizer).__name__
        raise ValueError(f"the state dict was saved with {', '.join(lost)}, which {name} does not support")
    group = {key: value for key, value in own.items() if key not in IN_PLACE} | saved
    if foreign:
        group |= {key: own[key] for key in rule}
    keep_used(group)
    return group
