"""Check docs/conformance.yaml and print its summary: `python scripts/conformance.py [write=true]`.

Every `values` is composed, every test and file looked up. write=true makes docs/conformance.md of it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from digrap.cli.arguments import bare_keys, check_flags
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.core.paths import REPO

SOURCE, PAGE = REPO / "docs" / "conformance.yaml", REPO / "docs" / "conformance.md"
STATES = {
    "tested": "equals a reference",
    "set": "composed so, not run with the real data and weights",
    "miniature": "seen in the miniature",
    "differs": "differs",
    "unknown": "not stated where we could read it",
}
KEYS = {"says", "where", "recipe", "values", "test", "state", "note"}


def main() -> None:
    """Check, print, write the page where asked."""
    options = bare_keys(sys.argv[1:], {"write": False})
    check_flags(options, "write")
    plain = load()
    if faults := list(check(plain)):
        raise DigrapError("\n".join([f"{SOURCE} is not what the repository is:", *(f"  {fault}" for fault in faults)]))
    print(summary(plain))
    if options.write:
        write_text(PAGE, page(plain))
        print(f"written: {PAGE}")


def load(file: Path = SOURCE) -> dict[str, Any]:
    """The file's content."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def rows(plain: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(section, row) in order."""
    for section, found in plain["sections"].items():
        yield from ((section, row) for row in found)


def check(plain: dict[str, Any]) -> Iterator[str]:
    """Say of every row what is not so."""
    configs = {name: compose(overrides) for name, overrides in plain["recipes"].items()}
    for _, row in rows(plain):
        name = row.get("says")
        if unknown := row.keys() - KEYS:
            yield f"{name}: no such keys: {', '.join(sorted(unknown))}"
        if row.get("state") not in STATES:
            yield f"{name}: state={row.get('state')}: one of {', '.join(STATES)}"
        for key, value in (row.get("values") or {}).items():
            found = OmegaConf.select(configs[row["recipe"]], key, default="missing")
            if found != value or type(found) is not type(value):
                yield f"{name}: {key} is {found!r} and not {value!r}"
        if (where := row.get("where")) and not (REPO / where).exists():
            yield f"{name}: {where} does not exist"
        if not _is_test(row.get("test", "")) and row.get("state") != "unknown":
            yield f"{name}: there is no test {row.get('test')}"


def _is_test(name: str) -> bool:
    file, _, function = name.partition("::")
    path = REPO / file
    return path.is_file() and re.search(rf"^def {re.escape(function)}\(", path.read_text("utf-8"), re.M) is not None


def summary(plain: dict[str, Any]) -> str:
    """How many statements are in each state."""
    counts = Counter(row["state"] for _, row in rows(plain))
    parts = [f"{counts[state]} {words}" for state, words in STATES.items() if counts[state]]
    return f"{counts.total()} statements: {'; '.join(parts)}"


def page(plain: dict[str, Any]) -> str:
    """docs/conformance.md."""
    lines = [
        "# What the paper states, and where it is here", "",
        "Made by `python scripts/conformance.py write=true` of [conformance.yaml](conformance.yaml); a test holds it",
        "to the configs and tests it names. No number of the paper's tables has been reproduced.", "",
        f"{summary(plain)}.",
    ]  # fmt: skip
    section = None
    for title, row in rows(plain):
        if title != section:
            lines += ["", f"## {title}", "", "| statement | here | test | state |", "|---|---|---|---|"]
            section = title
        lines.append(f"| {_cell(row['says'])} | {_here(row)} | {_test(row)} | {_state(row)} |")
    overrides = [f"{name}: `{' '.join(words)}`" for name, words in plain["recipes"].items()]
    return "\n".join([*lines, "", f"Values are those of `python train.py` with {'; '.join(overrides)}.", ""])


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _here(row: dict[str, Any]) -> str:
    values = [f"`{key}={value}`" for key, value in (row.get("values") or {}).items()]
    if values:
        return f"{row['recipe']}: " + _cell(", ".join(values))
    return f"`{row['where']}`" if row.get("where") else "—"


def _test(row: dict[str, Any]) -> str:
    file, _, function = row.get("test", "").partition("::")
    return f"[{function.removeprefix('test_')}](../{file})" if file else "—"


def _state(row: dict[str, Any]) -> str:
    note = f"; {row['note']}" if row.get("note") else ""
    return _cell(STATES[row["state"]] + note)
