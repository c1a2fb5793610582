"""Keys that a config group's choice does not have: refused, where they would be ignored."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from omegaconf import DictConfig

from digrap.config.choices import choices
from digrap.config.compose import composed_of
from digrap.core.errors import DigrapError, nearest

# Groups whose keys are read one by one; those of other groups are arguments, which the function called checks.
READ = {"optim": "methods", "peft": "peft", "logger": "loggers"}

SHOWN = 4  # keys that a message names


def check_known_keys(cfg: DictConfig) -> None:
    """Raise DigrapError for a key, added as +group.key=…, that the choice of its group does not have."""
    for group, name in READ.items():
        choice = cfg[group].get("name")
        if choice not in choices(name):  # a file of the user's own defines its keys itself
            continue
        known = composed_of((f"{group}={choice}",))[group]
        for key in cfg[group]:
            if key not in known:
                raise DigrapError(f"{group}.{key}: {group}={choice} has no such option; {nearest(str(key), known)}")


def nearest_key(key: str, keys: Iterable[str]) -> str:
    """`nearest: …` for an unknown dotted key: those of the same name elsewhere, as trainer.base.lr is for lr, and those
    beside it; else `valid: …`, all that are beside it."""
    keys = list(dict.fromkeys(keys))
    group, _, last = key.rpartition(".")
    beside = [name for place, _, name in (one.rpartition(".") for one in keys) if place == group]
    near = [f"{group}.{name}".lstrip(".") for name in difflib.get_close_matches(last, beside, cutoff=0.5)]
    alike = [one for one in keys if one.rpartition(".")[2] == last]
    near = [*alike, *(one for one in near if one not in alike)]
    if near := near[:SHOWN] or difflib.get_close_matches(key, keys, cutoff=0.7):
        return f"nearest: {', '.join(near)}"
    if group and beside:
        return f"valid: {', '.join(f'{group}.{name}' for name in beside)}"
    return "`python train.py --cfg job` lists them all"
