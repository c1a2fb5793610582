"""What a run's config has of its own: what differs from the defaults of its dataset, backbone and method."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.choices import choices
from digrap.config.compose import composed_of
from digrap.config.first_release import renamed
from digrap.config.identity import NOT_IDENTITY
from digrap.core.errors import DigrapError

CHOSEN = ("dataset", "backbone", "optim")  # groups whose choice is named by their `name`
RECIPES = {"trainer": "trainers", "schedule": "schedules"}  # groups whose choice is not named: the lists of theirs
BY_SMOKE = ("trainer.epochs", "trainer.validate_every")  # what trainer.smoke sets itself
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
    if values.get("trainer.smoke"):
        values = {key: value for key, value in values.items() if key not in BY_SMOKE}
    for group in RECIPES:
        chosen, base = _recipe(group, values, base)
        found |= {group: chosen} if chosen else {}
    return found | _differences(values, base)


def _differences(values: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """{key: value} where leaves differ from the default ones; without the seed and what changes no result."""
    found = {}
    for key, value in values.items():
        if key == "seed" or key in NAMES or any(key == out or key.startswith(f"{out}.") for out in NOT_IDENTITY):
            continue
        default = base.get(key)
        if isinstance(default, list) and "${" in str(default):
            continue
        if isinstance(default, str) and "${" in default and _follows(value, default, values):
            continue  # what it follows is listed itself
        if any("${" in str(base.get(above, "")) for above in _above(key)):
            continue  # a mapping that is another one
        if value != default and (key in base or value is not None):
            found[key] = value
    return found


def _recipe(group: str, values: dict[str, Any], base: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """(the group's choice that says in one word what differs from the defaults, the defaults with that choice); None
    and the same defaults where single values say it as shortly."""
    own = {key: value for key, value in values.items() if key.startswith(f"{group}.")}
    plain = _differences(own, base)
    if not plain:
        return None, base
    others = {key: value for key, value in base.items() if not key.startswith(f"{group}.")}
    best, count, target = (None, base), len(plain), f"{group}._target_"
    for choice in choices(RECIPES[group]):
        its = {key: value for key, value in _defaults((f"{group}={choice}",)).items() if key.startswith(f"{group}.")}
        left = _differences(own, there := others | its)
        if len(left) + 1 < count or (target in plain and target not in left and len(left) < count):
            best, count = (choice, there), len(left) + 1
    return best


def _follows(value: Any, default: str, values: dict[str, Any]) -> bool:
    """Whether a value is what the reference in its default gives, and what stands behind it."""
    reference, _, rest = default.removeprefix("${").partition("}")
    if ":" in reference:  # a resolver, as for the repository, which may have lain elsewhere
        return "${" in rest or "${" in reference or str(value).endswith(rest)
    followed = values.get(reference)
    return value == (f"{followed}{rest}" if rest else followed) or reference not in values


def _above(key: str) -> list[str]:
    """The mappings that a key lies in: of `a.b.c`, `a` and `a.b`."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def as_words(found: dict[str, Any]) -> str:
    """`mu=1 lr=0.001`: the last part of each key, the whole key where two end alike; a smoke run is called so."""
    last = [key.rpartition(".")[2] for key in found]
    short = [part if last.count(part) == 1 else key for key, part in zip(found, last, strict=True)]
    words = [f"{name}={_text(value)}" for name, value in zip(short, found.values(), strict=True)]
    return " ".join("smoke" if key == "trainer.smoke" else word for key, word in zip(found, words, strict=True))


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
