"""What a sweep found: one line per configuration, its mean over seeds, ranked by ID validation."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.report.run_list import Headline, spread
from digrap.runs.folder import RunFolder

NOT_SHOWN = ("seed", "wait")  # seeds are averaged over


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its overrides and its folder."""

    overrides: tuple[str, ...]
    folder: Path


@dataclass
class Configuration:
    """Runs that differ in the seed alone. `own` are the overrides that not all configurations of the sweep have."""

    overrides: tuple[str, ...]
    own: tuple[str, ...] = ()
    runs: list[Headline] = field(default_factory=list)
    missing: int = 0
    smoke: bool = False

    @property
    def validation(self) -> float:
        """The mean ID-validation score, by which configurations are ranked; −∞ without any run."""
        return statistics.fmean(run.validation for run in self.runs) if self.runs else -math.inf

    def texts(self) -> list[str]:
        """The cells of a printed line, as in TITLES but for the rank."""
        columns = ([getattr(run, key) for run in self.runs] for key in ("validation", "identity", "ood"))
        n = f"{len(self.runs)}" + (f" ({self.missing} failed)" if self.missing else "")
        return [" ".join(self.own) or "the only one", *map(spread, columns), n]

    @property
    def command(self) -> str:
        """The command that makes one of its runs; the seed is to be given."""
        return shlex.join(["python", "train.py", *self.overrides])


TITLES = ("", "configuration", "ID val", "ID", "OOD mean", "runs")


def configurations(jobs: Sequence[Job]) -> list[Configuration]:
    """The configurations of a sweep's jobs, the best on ID validation first (of equals the first in the sweep), those
    without a finished run last."""
    found: dict[tuple[str, ...], Configuration] = {}
    for job in jobs:
        overrides = tuple(word for word in job.overrides if word.lstrip("+").partition("=")[0] not in NOT_SHOWN)
        one = found.setdefault(overrides, Configuration(overrides))
        try:
            results = RunFolder(job.folder).results()
            one.runs.append(Headline.of(results))
            one.smoke |= results.smoke
        except DigrapError:
            one.missing += 1
    common = set.intersection(*map(set, found))
    for one in found.values():
        one.own = tuple(word for word in one.overrides if word not in common)
    return sorted(found.values(), key=lambda one: -one.validation)


def shared(ranked: Sequence[Configuration]) -> tuple[str, ...]:
    """The overrides that all configurations have."""
    return tuple(word for word in ranked[0].overrides if word not in ranked[0].own)


def doubt(ranked: Sequence[Configuration]) -> str:
    """What speaks against the first being better than the second: the seeds' spread, or that there is one seed. ""
    where nothing does, or there is nothing to compare."""
    first, second = ranked[:2]
    lead = first.validation - second.validation
    if not math.isfinite(lead):
        return ""
    spreads = [statistics.stdev(run.validation for run in one.runs) for one in (first, second) if len(one.runs) > 1]
    if not spreads:
        return f"Its lead over the second, {lead:.1f}, is of one seed; seed=0,1,2 shows whether it is more than chance."
    if lead > (spread := max(spreads)):
        return ""
    return f"Its lead over the second, {lead:.1f}, is within the seeds' spread (± {spread:.1f})."
