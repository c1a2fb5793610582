"""The command that makes a run again, from its config alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.compose import compose
from digrap.config.identity import NOT_IDENTITY, run_hash
from digrap.config.overrides import as_typed, override, parsed
from digrap.core.errors import DigrapError
from digrap.core.paths import DATA, REPO, SHIPPED

GROUPS = ("dataset", "backbone", "peft", "optim")
DERIVED = ("optim.optimizer", "optim.sha256")  # made of other keys


def overrides_of(plain: dict[str, Any], identity: str) -> list[str] | None:
    """What `python train.py` needs to make the run with this config and hash; None where today's configs do not lead
    to it."""
    try:
        choices = tuple(as_typed(f"{group}={plain[group]['name']}") for group in GROUPS)
        seed = f"seed={plain['seed']}"
        base = _plain((*choices, seed))
        root = [] if _alike(base["data_root"], plain["data_root"]) else [_written("data_root", plain["data_root"])]
        changes = list(_changes(_plain((*choices, seed, *root)), plain))
        default = _plain((choices[0], seed))
        chosen = [
            word for group, word in zip(GROUPS, choices, strict=True) if default[group]["name"] != plain[group]["name"]
        ]
        words = [choices[0], *chosen, *changes, *root, seed]
        return words if run_hash(compose(words)) == identity else None  # as the command line reads them
    except (DigrapError, HydraException, OmegaConfBaseException, KeyError, TypeError, ValueError, AttributeError):
        return None


def dataset_options(node: dict[str, Any]) -> list[str]:
    """What a script with the options of train.py's datasets needs for the dataset with this config."""
    choice = as_typed(f"dataset={node['name']}")
    base = _plain((choice,))["dataset"]
    root = [] if base["root"] == node["root"] else [_written("dataset.root", node["root"])]
    return [choice, *root, *_changes(base | {"root": node["root"]}, node, "dataset.")]


@cache
def _plain(words: tuple[str, ...]) -> dict[str, Any]:
    """What overrides compose to."""
    return OmegaConf.to_container(compose(list(words)))


def _changes(base: dict[str, Any], plain: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Overrides for what a config has otherwise than its choices, without what is not part of a run's identity."""
    for name, value in plain.items():
        key = f"{prefix}{name}"
        if key in (*NOT_IDENTITY, *DERIVED):
            continue
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            yield from _changes(base[name], value, key + ".")
        elif name not in base:
            yield "+" + _written(key, value)  # Hydra takes a key that the choices lack for a mistake without the plus
        elif not _alike(base[name], value):
            yield _written(key, value)


def _alike(base: Any, value: Any) -> bool:
    """Whether two values are equal, or one file of the repository, which lay elsewhere when the run was made. Data that
    are still elsewhere are others than those of the repository's own folder."""
    inside = isinstance(base, str) and isinstance(value, str) and base.startswith(f"{REPO}/")
    if base == value or not inside or not value.endswith(base.removeprefix(str(REPO))):
        return base == value
    shipped = not Path(base).is_relative_to(DATA) or any(map(Path(base).is_relative_to, SHIPPED))
    return shipped or not Path(value).exists()


def _written(key: str, value: Any) -> str:
    """An override in Hydra's grammar. Raises DigrapError for a text that it would take as a reference."""
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    """A value in the same; a text in quotes only where it would be read as another value without."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{_value(name)}:{_value(item)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str):
        return value if _reads_as(value) else override("", value).removeprefix("=")
    return str(value)


def _reads_as(text: str) -> bool:
    """Whether Hydra reads a text without quotes as itself, within a list too."""
    try:
        return parsed(f"key=[{text}]").value() == [text]
    except HydraException:
        return False


def train_command(overrides: list[str]) -> str:
    """The command of a run's overrides, quoted for the shell."""
    return shlex.join(["python", "train.py", *overrides])
