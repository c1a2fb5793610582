"""The command that makes a run again, from its config alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.compose import compose_with
from digrap.config.identity import NOT_IDENTITY, run_hash
from digrap.config.overrides import as_typed
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO

GROUPS = ("dataset", "backbone", "peft", "optim")
DERIVED = ("optim.optimizer",)  # made of other keys


def overrides_of(plain: dict[str, Any], identity: str) -> list[str] | None:
    """What `python train.py` needs to make the run with this config and hash; None where today's configs do not lead
    to it."""
    try:
        choices = tuple(as_typed(f"{group}={plain[group]['name']}") for group in GROUPS)
        changes = dict(_changes(_typed(choices, plain["seed"]), plain))
        given = [_written(key, value) for key, value in changes.items()]
        made = run_hash(compose_with(choices, {"seed": plain["seed"]} | changes))
        if None in given or made != identity:
            return None
        default = _typed(choices[:1], plain["seed"])
    except (DigrapError, HydraException, OmegaConfBaseException, KeyError, TypeError, ValueError, AttributeError):
        return None
    chosen = [
        word for group, word in zip(GROUPS, choices, strict=True) if default[group]["name"] != plain[group]["name"]
    ]
    return [choices[0], *chosen, *given, f"seed={plain['seed']}"]


@cache
def _typed(choices: tuple[str, ...], seed: int) -> dict[str, Any]:
    """What choices compose to with a seed, to which other keys refer."""
    return OmegaConf.to_container(compose_with(choices, {"seed": seed}))


def _changes(base: dict[str, Any], plain: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of what a config has otherwise than its choices, without what is no part of a run's identity."""
    for name, value in plain.items():
        key = prefix + name
        if key in (*NOT_IDENTITY, *DERIVED):
            continue
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            yield from _changes(base[name], value, key + ".")
        elif name not in base or not _alike(base[name], value):
            yield key, value


def _alike(base: Any, value: Any) -> bool:
    """Whether two values are equal, or one file of the repository, which lay elsewhere when the run was made."""
    inside = isinstance(base, str) and isinstance(value, str) and base.startswith(f"{REPO}/")
    return base == value or inside and value.endswith(base.removeprefix(str(REPO)))


def _written(key: str, value: Any) -> str | None:
    """An override; None for a value that no plain one gives."""
    if isinstance(value, (dict, list)):
        return None
    if value is None or isinstance(value, bool):
        return f"{key}={'null' if value is None else str(value).lower()}"
    return f"{key}={value}" if isinstance(value, (int, float)) else as_typed(f"{key}={value}")


def train_command(overrides: list[str]) -> str:
    """The command of a run's overrides, quoted for the shell."""
    return shlex.join(["python", "train.py", *overrides])
