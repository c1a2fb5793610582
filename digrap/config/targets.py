"""What a config that comes from a file may call, and refer to: code runs only where the repository or the user names
it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf

from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS

TARGET = "_target_"
# What an exported config has in place of this machine's folders; every other saved value is resolved.
REFERENCE = re.compile(r"(\$\{data_root\}|\$\{digrap\.repo:\})(/[^$]*)?")
DEFAULT_ROOT = "${digrap.repo:}/data"


def check_targets(plain: dict[str, Any], file: Path, allow: Iterable[str] = ()) -> None:
    """Raise DigrapError for a function or class that the config in `file` names and that configs/ does not name at the
    same key, unless it is, or is within, one of `allow`; and for a reference that no saved config has."""
    allow = tuple(allow)
    for key, value in leaves(plain):
        group, _, last = key.rpartition(".")
        known = isinstance(value, str) and value in known_targets().get(group, ())
        if last == TARGET and not known and not _within(value, allow):
            remedy = f"if you trust that code, add allow={value}" if _is_name(value) else "correct it there"
            raise DigrapError(
                f"{file}: {key}={value} is not among what this repository calls there, and a config from a file may "
                f"call nothing else; {remedy}"
            )
        known = value == DEFAULT_ROOT if key == "data_root" else isinstance(value, str) and REFERENCE.fullmatch(value)
        if isinstance(value, str) and "${" in value and not known:
            raise DigrapError(
                f"{file}: {key}={value} is a reference, but a saved config has only plain values; write the value there"
            )


def allowed(value: Any) -> tuple[str, ...]:
    """The option `allow` as names of packages, modules or functions: null, one, or a list. Raises DigrapError."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    names = [] if value is None else list(value) if several else [value]
    for name in names:
        if not _is_name(name):
            raise DigrapError(f"allow={name}: give the name of a package or function, as in allow=my_package")
    return tuple(names)


@cache
def known_targets() -> dict[str, frozenset[str]]:
    """{key of a group: the functions and classes that files in configs/ name there}."""
    found: dict[str, set[str]] = {}
    for path in sorted(CONFIGS.rglob("*.yaml")):
        plain = OmegaConf.to_container(OmegaConf.load(path))
        # A choice lies in the folder of its group, unless its file says that it starts at the config's root.
        whole = "@package _global_" in path.read_text(encoding="utf-8")
        place = "" if whole or path.parent == CONFIGS else path.parent.relative_to(CONFIGS).as_posix()
        for key, value in leaves(plain):
            group, _, last = key.rpartition(".")
            if last == TARGET:
                found.setdefault(".".join(filter(None, (place, group))), set()).add(value)
    return {key: frozenset(values) for key, values in found.items()}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _within(value: Any, allow: tuple[str, ...]) -> bool:
    """Whether `value` is one of `allow`, or defined in one: what such a module imports from elsewhere is not."""
    if value in allow:
        return True
    if not isinstance(value, str) or not (packages := [name for name in allow if value.startswith(f"{name}.")]):
        return False
    try:
        home = getattr(get_object(value), "__module__", None) or ""
    except Exception:  # an own package may raise anything; whoever calls it says what is missing
        return True
    return any(f"{home}.".startswith(f"{name}.") or name.startswith(f"{home}.") for name in packages)


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every value that is not a mapping or list, and of every target, whatever it is."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        inner = f"{key}.{name}" if key else str(name)
        if isinstance(item, (dict, list)) and name != TARGET:
            yield from leaves(item, inner)
        else:
            yield inner, item
