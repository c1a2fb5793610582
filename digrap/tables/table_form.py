"""The form of a table's yaml: its keys and what they hold, each fault named with the file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError, nearest

KEYS = (
    "title", "overrides", "seeds", "baseline", "rows", "blocks", "groups", "search", "means", "columns", "targets",
    "scorer", "matched",
)  # fmt: skip
ROW_KEYS = ("overrides", "grid", "start")
GROUP_KEYS = ("overrides", "rows")
SEARCH_KEYS = ("seeds", "rule")
TARGET_KEYS = ("source", "values")


def check_form(path: Path, plain: object) -> None:
    """Raise DigrapError for anything but a table's mapping with all that it needs."""
    if not isinstance(plain, dict):
        raise DigrapError(f"{path}: a table is a mapping with {', '.join(KEYS)}")
    check_keys(path, plain, KEYS)
    for key, kind in (("title", str), ("overrides", list), ("seeds", list), ("rows", dict)):
        if not isinstance(plain.get(key), kind) or not plain[key]:
            raise DigrapError(f"{path}: {key} must be a {kind.__name__} that is not empty")
    if (baseline := plain.get("baseline")) is not None and baseline not in plain["rows"]:
        raise DigrapError(f"{path}: baseline {baseline!r} is no row; {nearest(baseline, plain['rows'])}")
    column = "a column's title to what it shows"
    for key, what in {"means": column, "columns": column, "blocks": "a block's title to its overrides",
                      "groups": "a group's title to its overrides and rows"}.items():  # fmt: skip
        if not isinstance(plain.get(key) or {}, dict):
            raise DigrapError(f"{path}: {key} must be a mapping from {what}")
    for title, group in (plain.get("groups") or {}).items():
        _check_group(path, f"groups.{title}.", group, plain)
    if not isinstance(plain.get("scorer"), str | None):
        raise DigrapError(f"{path}: scorer={plain['scorer']}: give the name of one score")
    if not isinstance(plain.get("matched", False), bool):
        raise DigrapError(f"{path}: matched={plain['matched']}: give true or false")
    check_keys(path, plain.get("search") or {}, SEARCH_KEYS, "search.")
    targets = plain.get("targets") or {}
    check_keys(path, targets, TARGET_KEYS, "targets.")
    if targets.get("values") and not targets.get("source"):
        raise DigrapError(f"{path}: targets need a source; a number without one is not printed")


def _check_group(path: Path, prefix: str, group: object, plain: dict[str, Any]) -> None:
    """Raise DigrapError for a group that has no rows of its own, or none that they are compared with."""
    if not isinstance(group, dict) or not isinstance(group.get("rows"), dict) or not group["rows"]:
        raise DigrapError(f"{path}: {prefix}rows must be a dict that is not empty")
    check_keys(path, group, GROUP_KEYS, prefix)
    if (baseline := plain.get("baseline")) is not None and baseline not in group["rows"]:
        raise DigrapError(
            f"{path}: {prefix}rows: the baseline {baseline!r} is missing; the others are compared with it"
        )
    if prefix.split(".")[1] in (plain.get("blocks") or {}):
        raise DigrapError(f"{path}: {prefix.rstrip('.')}: a block has that title; choose another")


def check_target_rows(path: Path, targets: dict[str, Any], rows: Collection[str]) -> None:
    """Raise DigrapError for published numbers of a row that the table has not."""
    for label in targets.get("values") or {}:
        if label not in rows:
            raise DigrapError(f"{path}: targets.values: {label!r} is no row; {nearest(label, rows)}")


def check_keys(path: Path, found: dict[str, Any], known: tuple[str, ...], prefix: str = "") -> None:
    """Raise DigrapError for a key that is not known, with the nearest ones."""
    for key in found:
        if key not in known:
            raise DigrapError(f"{path}: unknown key {prefix + str(key)!r}; {nearest(str(key), known)}")
