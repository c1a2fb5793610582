"""The `key=value` arguments of scripts: parsing, checks, and their way into a config's overrides."""

from __future__ import annotations

import re

from omegaconf import DictConfig, OmegaConf

from digrap.core.errors import DigrapError, nearest


def bare_keys(arguments: list[str], defaults: dict[str, object]) -> DictConfig:
    """Merge `key=value` arguments into their defaults. Raises DigrapError for an unknown key."""
    for argument in arguments:
        key = argument.split("=", 1)[0]
        if "=" not in argument or key not in defaults:
            raise DigrapError(f"unknown argument {argument!r}: give key=value; {nearest(key, defaults)}")
    return OmegaConf.merge(defaults, OmegaConf.from_cli(arguments))


def with_overrides(arguments: list[str], defaults: dict[str, object]) -> tuple[DictConfig, list[str]]:
    """Split the arguments into a script's own keys, merged as by `bare_keys`, and overrides `dataset.<key>=…`."""
    overrides = [argument for argument in arguments if argument.lstrip("+~").startswith("dataset.")]
    return bare_keys([argument for argument in arguments if argument not in overrides], defaults), overrides


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
    """Raise DigrapError for a value that is no whole number of its range, both ends included."""
    for name, (low, high) in ranges.items():
        if isinstance(options[name], bool) or not isinstance(options[name], int) or not low <= options[name] <= high:
            raise DigrapError(f"{name}={options[name]}: give a whole number from {low} to {high}")


def override(key: str, value: object) -> str:
    """Quote a value as an override for `digrap.config.compose`. Raises DigrapError for a reference to another key."""
    text = str(value)
    if "${" in text:
        raise DigrapError(f"{key}={text}: ${{ stands for a reference to another key; give a name without")
    text = re.sub(r"(\\+)('|$)", r"\1\1\2", text)  # before a quote, and only there, Hydra takes two backslashes for one
    quoted = text.replace("'", r"\'")
    return f"{key}='{quoted}'"
