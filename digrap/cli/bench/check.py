"""The ratios that a step must keep: two limits, and those of an earlier measurement."""

from __future__ import annotations

import json
from typing import Any

from digrap.cli.bench.race import Row
from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.paths import REPO

KEPT = REPO / "tools" / "bench_optim.json"
# Step time over that of torch's fused AdamW on ViT-B/16.
LIMITS = {("DiGraP", "native"): 2.0, ("DiGraP", "blocked"): 3.0}
MARGIN = 1.25  # how far a ratio may exceed the kept one: what differs between quiet runs of one machine


def kept() -> dict[str, Any]:
    """The kept measurement: `ratios` by "<optimizer>, <implementation>", the `margin`, `where` it was made. Raises
    DigrapError for a file that is missing or damaged."""
    remedy = "restore it with git, or measure it again: python tools/bench_optim.py keep=true"
    try:
        found = json.loads(KEPT.read_text(encoding="utf-8"))
        numbers = [found["margin"], *found["ratios"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DigrapError(f"{KEPT} cannot be used ({error!r}); {remedy}") from error
    if not all(type(number) in (int, float) and number > 0 for number in numbers):
        raise DigrapError(f"{KEPT} cannot be used (a ratio is not a number above 0); {remedy}")
    return found


def keep(rows: list[Row], where: str) -> None:
    """Keep the ratios of these rows."""
    ratios = {_name(row): round(row.ratio, 2) for row in rows if row.ratio is not None and row.implementation}
    write_json(KEPT, {"where": where, "margin": MARGIN, "ratios": ratios})


def misses(rows: list[Row], before: dict[str, Any]) -> dict[str, list[str]]:
    """{optimizer: sentences} for the rows that are slower than a limit, or than the kept ratio times the margin."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.ratio is None:
            continue
        bounds = []
        if limit := LIMITS.get((row.optimizer, row.implementation)):
            bounds.append((limit, f"the limit is {limit:.2f}"))
        if (old := before["ratios"].get(_name(row))) is not None:
            most = old * before["margin"]
            bounds.append((most, f"the kept ratio is {old:.2f}, {most:.2f} with its margin ({before['where']})"))
        for most, text in bounds:
            if row.ratio > most:
                sentence = f"{_name(row)}: {row.ratio:.2f} × torch's fused AdamW; {text}"
                found.setdefault(row.optimizer, []).append(sentence)
    return found


def _name(row: Row) -> str:
    return f"{row.optimizer}, {row.implementation}"
