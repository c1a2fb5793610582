"""One line per run: what distinguishes it, its state and its main scores."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap.config.changes import as_words, changes
from digrap.core.errors import DigrapError
from digrap.report.formats import EMPTY, format_score
from digrap.runs.folder import RunFolder
from digrap.runs.results import OOD, Results
from digrap.tables.run_states import duration, state_of

NAN = float("nan")


@dataclass(frozen=True)
class Headline:
    """ID validation, the ID test and the mean over the OOD splits, in percent; NaN where there is none."""

    validation: float
    identity: float
    ood: float

    @classmethod
    def of(cls, results: Results) -> Headline:
        """The three of a finished run, by the metric that chose its checkpoint."""
        means = (results.mean(kinds) for kinds in (("id_test",), OOD))
        return cls(float(results.selection["score"]), *means)


@dataclass(frozen=True)
class Listed:
    """A run folder for a list. `choice` is its optim=…, `method` what that is called: of optim=file, the class, once
    the run is done; `own` are the values of its config that differ from the defaults, as text; `changed` is the time of
    its last change in seconds since the epoch; `headline` None before the run is done and of smoke runs."""

    folder: Path
    dataset: str
    choice: str
    method: str
    seed: int | None
    own: str
    state: str
    changed: float
    headline: Headline | None

    def texts(self, now: float) -> list[str]:
        """The cells of a printed line, as in TITLES."""
        seed = EMPTY if self.seed is None else str(self.seed)
        scores = self.headline or Headline(NAN, NAN, NAN)
        numbers = [format_score(value, NAN) for value in (scores.validation, scores.identity, scores.ood)]
        place = f"{self.folder.parent.name}/{self.folder.name}"
        return [place, self.method, self.own, seed, self.state, *numbers, duration(max(now - self.changed, 0))]


TITLES = ("run", "method", "overrides", "seed", "state", "ID val", "ID", "OOD mean", "age")


def listed(folder: Path) -> Listed | None:
    """A run folder as a line; None for one that is none. What cannot be read is left empty."""
    run = RunFolder(folder)
    plain = run.plain_config()
    try:
        dataset, choice, seed = plain["dataset"]["name"], plain["optim"]["name"], plain["seed"]
    except (KeyError, TypeError):
        if not run.done():
            return None
        plain, dataset, choice, seed = None, folder.parent.name, "?", None
    state, headline, method = state_of(folder).name, None, choice
    try:
        if (results := run.finished()) is not None:
            method = results.method if choice == "file" else choice
            headline = None if results.smoke else Headline.of(results)
    except DigrapError:
        state = "damaged"
    return Listed(folder, dataset, choice, method, seed, _own(plain), state, _last_change(run), headline)


def _own(plain: dict[str, Any] | None) -> str:
    found = None if plain is None else changes(plain)
    return "?" if found is None else as_words(found)


def _last_change(run: RunFolder) -> float:
    files = [run.results_file] if run.done() else [run.config_file, run.metrics_file, run.error_file]
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


def spread(values: list[float]) -> str:
    """`79.3 ± 0.4` of several values, by the sample standard deviation; the value of one."""
    known = [value for value in values if not math.isnan(value)]
    if not known or len(known) < len(values):
        return EMPTY
    return format_score(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else NAN)
