"""Two runs on the same examples, split by split: scores, their difference with an interval, McNemar's test."""

from __future__ import annotations

from dataclasses import dataclass

from digrap.core.errors import DigrapError, nearest
from digrap.report.formats import EMPTY
from digrap.report.gather import Run
from digrap.report.paired import Paired, bootstrap, mcnemar, paired
from digrap.report.scores import check_alike, example_differences

TITLES = ("split", "first", "second", "difference", "95 % interval", "McNemar p", "n")


@dataclass(frozen=True)
class Compared:
    """Two runs on a split: their scores and the bootstrap of first − second, in percent; McNemar's p where every
    example is right or wrong; the number of examples."""

    split: str
    first: float
    second: float
    difference: Paired
    mcnemar: float | None
    n: int

    def texts(self) -> list[str]:
        """The cells of a printed line, as in TITLES."""
        mean, interval = self.difference.mean + 0.0, f"[{self.difference.low:+.2f}, {self.difference.high:+.2f}]"
        p = EMPTY if self.mcnemar is None else f"{self.mcnemar:.2g}"
        return [self.split, f"{self.first:.2f}", f"{self.second:.2f}", f"{mean:+.2f}", interval, p, str(self.n)]


def compare(first: Run, second: Run, split: str | None = None, scorer: str | None = None) -> list[Compared]:
    """One line per split that both were tested on, or the one that is named.

    Raises DigrapError for runs that cannot be paired, and for a split or scorer that they have not both.
    """
    check_alike([first, second])
    datasets = [run.results.dataset for run in (first, second)]
    if datasets[0] != datasets[1]:
        raise DigrapError(f"{first.name} is on {datasets[0]}, {second.name} on {datasets[1]}")
    splits = [name for name in first.results.scores if name in second.results.scores]
    if split is not None and split not in splits:
        raise DigrapError(f"split={split}: it is not in both runs; {nearest(split, splits)}")
    return [_compare(first, second, name, scorer) for name in splits if split in (None, name)]


def _compare(first: Run, second: Run, split: str, scorer: str | None) -> Compared:
    differences = example_differences(first, second, split, scorer)
    test = paired(100 * differences.mean(), 100 * bootstrap([[differences]])[:, 0])
    p = mcnemar(*(run.example_scores(split, scorer) for run in (first, second)))
    return Compared(split, *(run.score(split, scorer) for run in (first, second)), test, p, len(differences))
