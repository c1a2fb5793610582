"""What a run's config has of its own: the values that differ from the defaults of its dataset, backbone and method."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.compose import composed_of
from digrap.config.first_release import renamed
from digrap.config.identity import NOT_IDENTITY
from digrap.core.errors import DigrapError

CHOSEN = ("dataset", "backbone", "optim")  # groups whose choice is named by their `name`
NAMES = {f"{group}.name" for group in CHOSEN}


def changes(plain: dict[str, Any]) -> dict[str, Any] | None:
    """{key: value} of a resolved config, as a container, where it differs from the defaults; without the seed and what
    changes no result. None where the defaults cannot be composed (an own dataset, or one of another release)."""
    plain, found = renamed(plain), {}
    try:
        groups = tuple(f"{group}={plain[group]['name']}" for group in CHOSEN)
        base, adapters = _defaults(groups), plain["peft"]["name"]
        if adapters != base["peft.name"]:
            base, found["peft"] = _defaults((*groups, f"peft={adapters}")), adapters
    except (HydraException, OmegaConfBaseException, DigrapError, KeyError, TypeError):
        return None
    values = dict(_leaves(plain))
    for key, value in values.items():
        if key == "seed" or key in NAMES or any(key == out or key.startswith(f"{out}.") for out in NOT_IDENTITY):
            continue
        default = base.get(key)
        if isinstance(default, list) and "${" in str(default):
            continue
        if isinstance(default, str) and "${" in default and _follows(value, default, values):
            continue  # what it follows is listed itself
        if value != default and (key in base or value is not None):
            found[key] = value
    return found


def _follows(value: Any, default: str, values: dict[str, Any]) -> bool:
    """Whether a value is what the reference in its default gives, and what stands behind it."""
    reference, _, rest = default.removeprefix("${").partition("}")
    if ":" in reference:  # a resolver, as for the repository, which may have lain elsewhere
        return str(value).endswith(rest)
    followed = values.get(reference)
    return value == (f"{followed}{rest}" if rest else followed) or reference not in values


def as_words(found: dict[str, Any]) -> str:
    """`mu=1 lr=0.001`: the last part of each key, the whole key where two end alike."""
    last = [key.rpartition(".")[2] for key in found]
    short = [part if last.count(part) == 1 else key for key, part in zip(found, last, strict=True)]
    return " ".join(f"{name}={_text(value)}" for name, value in zip(short, found.values(), strict=True))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@lru_cache(maxsize=64)
def _defaults(groups: tuple[str, ...]) -> dict[str, Any]:
    return dict(_leaves(OmegaConf.to_container(composed_of(groups))))


def _leaves(node: Any, at: str = "") -> Any:
    """(dotted key, value) of nested mappings; lists are values."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value
