"""The `key=value` arguments of scripts: parsing, checks, and their way into a config's overrides."""

from __future__ import annotations

from omegaconf import BooleanNode, DictConfig, FloatNode, IntegerNode, OmegaConf
from omegaconf.errors import ValidationError

from digrap.config.overrides import as_typed, check_no_reference
from digrap.config.overrides import override as override
from digrap.core.errors import DigrapError, nearest

TYPED = {bool: BooleanNode, int: IntegerNode, float: FloatNode}


def bare_keys(arguments: list[str], defaults: dict[str, object]) -> DictConfig:
    """Merge `key=value` arguments into their defaults.

    A value becomes a number or a boolean where its default is one; all others are the text that was typed, and `null`
    is None where that is the default. Raises DigrapError for an unknown key and an empty value.
    """
    given = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or key not in defaults:
            raise DigrapError(f"unknown argument {argument!r}: give key=value; {nearest(key, defaults)}")
        given[key] = _value(key, text, defaults[key])
    return OmegaConf.merge(defaults, given)


def _value(key: str, text: str, default: object) -> object:
    if not text.strip():
        raise DigrapError(f"{key}={text}: the value is empty; give one, or leave {key}= out")
    check_no_reference(key, text)
    if default is None and text == "null":
        return None
    return as_number(text, type(default)) if type(default) in TYPED else text


def as_number(text: str, kind: type = int) -> object:
    """The value of a text as bool, int or float; the text itself where it is none, for a check to name."""
    try:
        return TYPED[kind](text)._value()
    except ValidationError:
        return text


CHOSEN = ("dataset.", "backbone.", "peft.", "schedule.", "optim.")  # groups whose keys are those of the choice
GROUPS = (*CHOSEN, "trainer.", "backbone=", "peft=", "data_root=")  # what a sweep may be given after table=…


def with_overrides(
    arguments: list[str], defaults: dict[str, object], groups: tuple[str, ...] = ("dataset.",)
) -> tuple[DictConfig, list[str]]:
    """Split the arguments into a script's own keys, merged as by `bare_keys`, and overrides `dataset.<key>=…`, or those
    of other `groups`, which are quoted where Hydra's grammar needs it."""
    overrides = [argument for argument in arguments if argument.lstrip("+~").startswith(groups)]
    own = [argument for argument in arguments if argument not in overrides]
    return bare_keys(own, defaults), list(map(as_typed, overrides))


def parse_seeds(value: object) -> list[int] | None:
    """Parse `seeds=0,1,2` into a list in which each seed stands once; None stays None. Raises DigrapError."""
    if value is None:
        return None
    try:
        return list(dict.fromkeys(int(seed) for seed in str(value).split(",")))
    except ValueError:
        raise DigrapError(f"seeds={value}: give whole numbers, as in seeds=0,1,2") from None


def check_flags(options: DictConfig, *names: str) -> None:
    """Raise DigrapError for a value that is neither true nor false."""
    for name in names:
        if not isinstance(options[name], bool):
            raise DigrapError(f"{name}={options[name]}: give true or false")


def check_whole(options: DictConfig, **ranges: tuple[int, int]) -> None:
    """Raise DigrapError for a value that is not a whole number of its range, both ends included."""
    for name, (low, high) in ranges.items():
        if isinstance(options[name], bool) or not isinstance(options[name], int) or not low <= options[name] <= high:
            raise DigrapError(f"{name}={options[name]}: give a whole number from {low} to {high}")
