"""Finished runs in an outputs tree, and which of them a row of a table could have asked for. Composes no config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from digrap.config.compose import compose_with
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.report.gather import OOD, Run, load_run
from digrap.runs.folder import RunFolder
from digrap.tables.spec import Row, Table

MU = "optim.mu"


@dataclass(frozen=True)
class Found:
    """A finished run of an outputs tree with its config as plain values, {} where config.yaml cannot be read."""

    run: Run
    folder: RunFolder

    @cached_property
    def config(self) -> dict[str, Any]:
        return self.folder.plain_config()

    @property
    def ood(self) -> float | None:
        """The mean over all OOD splits in percent; None without any."""
        results = self.run.results
        scores = [results.score(name) for name, entry in results.scores.items() if entry["kind"] in OOD]
        return sum(scores) / len(scores) if scores else None

    @property
    def identity(self) -> float | None:
        """The score of the ID test in percent; None without one."""
        results = self.run.results
        return next((results.score(name) for name, entry in results.scores.items() if entry["kind"] == "id_test"), None)


def finished(outputs: Path) -> tuple[list[Found], list[str]]:
    """(finished runs of an outputs tree, newest first, but for smoke runs; what is wrong with the unreadable ones)."""
    files = sorted(outputs.glob("*/*/results.json"), key=lambda file: (-file.stat().st_mtime, file))
    found, wrong = [], []
    for file in files:
        try:
            run = load_run(file.parent)
            found += [] if run.results.smoke else [Found(run, RunFolder(file.parent))]
        except DigrapError as error:
            wrong.append(str(error))
    return found, wrong


def wanted(table: Table, runs: Iterable[Found]) -> bool:
    """Whether one of the runs could be one of the table's, as far as its plain overrides tell."""
    seeds = {*table.seeds, *(table.search.seeds or ())}
    return any(
        found.run.seed in seeds and _asked_for(found, table, row) for found in runs for row in table.rows.values()
    )


def _asked_for(found: Found, table: Table, row: Row) -> bool:
    """Whether a run has what a row asks for, and values of its grid."""
    given = [override.lstrip("+").partition("=") for override in (*table.overrides, *row.overrides)]
    plain = found.config
    return (
        bool(plain)
        and all(_has(plain, key, [value]) for key, _, value in given)
        and all(_has(plain, key, values) for key, values in row.grid.items())
    )


def _has(plain: dict[str, Any], key: str, texts: Iterable[str]) -> bool:
    """Whether a config has one of the values; structures and what is read from files are not looked at."""
    value = plain
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("name")
    return key == "best" or any(text[:1] in "[{'\"" or _same(value, text) for text in texts)


def _same(value: Any, text: str) -> bool:
    try:
        return float(value) == float(text)
    except (TypeError, ValueError):
        return value == text or value == yaml.safe_load(text)


def mu_grid(table: Table, runs: Iterable[Found]) -> dict[str, pd.DataFrame]:
    """Row → its finished runs over µ (columns mu, setting, validation, ood), for the rows whose grid has µ."""
    seeds, result = table.search.seeds or table.seeds, {}
    runs = [found for found in runs if found.run.seed in seeds]  # those of the winners alone would weigh one µ more
    for row in table.rows.values():
        if MU not in row.grid:
            continue
        near = [found for found in runs if found.ood is not None and _asked_for(found, table, row)]
        others, lines = [key for key in row.grid if key != MU], []
        for found in near:
            values = {"seed": found.run.seed} | {key: _at(found.config, key) for key in row.grid}
            made = compose_with((*table.overrides, *row.overrides), values)
            if run_hash(made) == found.run.results.hash:
                setting = ", ".join(f"{key.rpartition('.')[2]} {values[key]}" for key in others)
                score = found.run.results.selection["score"]
                lines.append((values[MU], setting or "µ alone", score, found.ood))
        if lines:
            result[row.label] = pd.DataFrame(lines, columns=["mu", "setting", "validation", "ood"])
    return result


def _at(plain: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        plain = plain[part]
    return plain
