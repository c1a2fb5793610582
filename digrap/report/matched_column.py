"""A table's column "OOD at matched ID": is a row worth more than vanilla fine-tuning with another learning rate?

Vanilla's runs with several learning rates make its front: OOD accuracy over ID accuracy, means over seeds, linear
between the rates that no other one beats on both. A row's gain is its OOD mean minus the front's at the row's ID
accuracy, over the seeds that have the row and the rates. Beyond the front's ends there is nothing to compare with, and
no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from digrap.core.errors import DigrapError
from digrap.report.formats import EMPTY, format_interval
from digrap.report.gather import Run
from digrap.report.matched_id import front, gains_over_front
from digrap.report.paired import DIGITS, resampled, standard
from digrap.tables.rates import point_name, rate_rows

if TYPE_CHECKING:
    from digrap.report.scores import Scores

TITLE = "OOD at matched ID"
DRAWS = 1000


@dataclass(frozen=True)
class Rates:
    """Vanilla's runs with several learning rates, by rising ID accuracy: `runs[name][seed]`, every name with all of the
    `seeds`; `points` are their ID accuracies and OOD means over the seeds, (rates, 2) in percent."""

    seeds: tuple[int, ...]
    runs: dict[str, dict[int, Run]]
    points: np.ndarray

    @property
    def beaten(self) -> list[str]:
        """The rates that another one beats on both: the front goes without them."""
        kept = set(zip(*front(*self.points.T), strict=True)) if len(self.points) else set()
        return [name for name, point in zip(self.runs, self.points, strict=True) if tuple(point) not in kept]

    @property
    def ends(self) -> tuple[float, float] | None:
        """The lowest and highest ID accuracy of the front; None where it is one point or none."""
        identity = front(*self.points.T)[0] if len(self.points) else []
        return (float(identity[0]), float(identity[-1])) if len(identity) > 1 else None


@dataclass(frozen=True)
class Matched:
    """A row's ID accuracy and vanilla's OOD mean there (None beyond the ends), both of the row's `seeds`; its `gain`
    over that, with the ends of the 95 % interval."""

    seeds: tuple[int, ...]
    identity: float
    reference: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None


def rates_of(scores: Scores, row: str) -> Rates:
    """Vanilla's runs to which a row is held. Of the rates those that one seed has most of, and all seeds that have
    these; no rates without a baseline, an ID test or OOD splits."""
    rows = {found.label: found for found in rate_rows(scores.table, row)}
    by_seed: dict[int, dict[tuple[str, ...], Run]] = {}
    for run in scores.source.bundled:
        if run.row in rows:
            by_seed.setdefault(run.seed, {})[run.overrides[:-1]] = run
    if not by_seed or scores.identity is None or scores.ood_mean is None:
        return Rates((), {}, np.empty((0, 2)))
    most = max(by_seed.values(), key=len)
    seeds = tuple(sorted(seed for seed, found in by_seed.items() if most.keys() <= found.keys()))
    found = []
    for key, run in most.items():
        of_rate = {seed: by_seed[seed][key] for seed in seeds}
        point = np.mean([accuracies(scores, run) for run in of_rate.values()], axis=0)
        found.append((point, point_name(rows[run.row], key), of_rate))
    found.sort(key=lambda entry: tuple(entry[0]))
    return Rates(seeds, {name: of_rate for _, name, of_rate in found}, np.array([point for point, *_ in found]))


def accuracies(scores: Scores, run: Run) -> tuple[float, float]:
    """A run's ID accuracy and OOD mean in percent."""
    identity, ood = (
        standard([run.score(split, scores.table.scorer) for split in scores.parts[column]])[0]
        for column in (scores.identity, scores.ood_mean)
    )
    return identity, ood


def matched(scores: Scores) -> dict[str, Matched]:
    """Row → what it keeps at matched ID accuracy, for the rows that are no rates themselves and have runs of the same
    seeds as two rates or more. Raises DigrapError for damaged predictions."""
    alike: dict[tuple[str | None, tuple[int, ...]], list[str]] = {}
    for row, facts in scores.table.rows.items():
        there, itself = {run.seed for run in scores.runs if run.row == row}, rate_rows(scores.table, row)
        rates = rates_of(scores, row)
        seeds = tuple(seed for seed in rates.seeds if seed in there)
        if seeds and len(rates.runs) > 1 and facts not in itself:
            alike.setdefault((facts.block, seeds), []).append(row)
    result = {}
    for (_, seeds), rows in alike.items():
        result |= _held_to(scores, rates_of(scores, rows[0]), rows, seeds)
    return {row: result[row] for row in scores.table.rows if row in result}


def _held_to(scores: Scores, rates: Rates, rows: list[str], seeds: tuple[int, ...]) -> dict[str, Matched]:
    """The rows that are held to the same rates, on the same seeds."""
    of_rows = {(run.row, run.seed): run for run in scores.runs}
    runs = [[*(of[seed] for of in rates.runs.values()), *(of_rows[row, seed] for row in rows)] for seed in seeds]
    points, count = np.mean([[accuracies(scores, run) for run in of_seed] for of_seed in runs], axis=0), len(rates.runs)
    (gains,), (beyond,) = gains_over_front(points[None], count)
    result = {row: Matched(seeds, float(point[0])) for row, point in zip(rows, points[count:], strict=True)}
    if beyond.all() or len(front(*points[:count].T)[0]) < 2:
        return result
    drawn = gains_over_front(_drawn(scores, runs), count)[0]
    ends = np.quantile(drawn, (0.025, 0.975), axis=0).T
    for row, (identity, ood), gain, outside, (low, high) in zip(rows, points[count:], gains, beyond, ends, strict=True):
        if not outside:
            numbers = (float(value) for value in (identity, ood - gain, gain, low, high))
            result[row] = Matched(seeds, *numbers)
    return result


def _drawn(scores: Scores, runs: list[list[Run]]) -> np.ndarray:
    """(draws, runs of a seed, 2): ID accuracy and OOD mean in percent after resampling seeds, and examples in them."""
    identity, ood = (scores.parts[column] for column in (scores.identity, scores.ood_mean))
    splits = list(dict.fromkeys([*identity, *ood]))
    answers = [[_side_by_side(of_seed, split, scores.table.scorer) for split in splits] for of_seed in runs]
    drawn = 100 * resampled(answers, shared=not scores.source.own_pictures, draws=DRAWS)
    means = [drawn[:, [splits.index(split) for split in part]].mean(axis=1) for part in (identity, ood)]
    return np.stack(means, axis=-1)


def _side_by_side(runs: Sequence[Run], split: str, scorer: str | None) -> np.ndarray:
    """(examples, runs): scores in [0, 1]. Raises DigrapError where the runs were tested on different examples."""
    for run in runs[:-1]:
        if not run.bundle.same_examples(runs[-1].bundle, split):
            raise DigrapError(
                f"split {split}: {run.name} and {runs[-1].name} have different labels or ids; they cannot be compared"
            )
    return np.stack([run.example_scores(split, scorer) for run in runs], axis=1)


def cell(scores: Scores, row: str) -> str:
    """The row's gain with its interval; `—` where there is none."""
    found = scores.matched.get(row)
    return EMPTY if found is None or found.gain is None else format_interval(found.gain, found.low, found.high)


def csv_line(scores: Scores, row: str) -> list[str | int]:
    """Vanilla's OOD mean at the row's ID accuracy as the mean, the row's gain as delta."""
    found = scores.matched.get(row)
    if found is None or found.gain is None:
        return [row, TITLE, "matched", "", "", 0, "", "", "", 0, ""]
    interval = [f"{value:.3f}" for value in (found.low, found.high)]
    reference, gain = (repr(round(value, DIGITS)) for value in (found.reference, found.gain))
    return [row, TITLE, "matched", reference, "", len(found.seeds), gain, *interval, 0, ""]


def notes(scores: Scores) -> list[str]:
    """What the column is, and why rows have no number in it."""
    units = "seeds, and examples within each" if scores.source.own_pictures else "seeds, and examples once for all"
    lines = [
        f"{TITLE}: OOD mean minus vanilla's at the same ID accuracy, linear between its learning rates; in brackets "
        f"the 95 % interval of a bootstrap over {units} ({DRAWS:,} draws)."
    ]
    blocks = {tuple(scores.table.beside(row)): scores.table.rows[row].block for row in scores.table.rows}
    for rows, block in blocks.items():
        where = "" if block is None else f" ({block})"
        lines.append(f"Vanilla's learning rates{where}: {_of_block(scores, rows)}")
    return lines


def _of_block(scores: Scores, rows: Sequence[str]) -> str:
    rates = rates_of(scores, rows[0])
    used = [name for name in rates.runs if name not in rates.beaten] if rates.ends else rates.runs
    named = f"{', '.join(used)} on seed{'s' * (len(rates.seeds) != 1)} {', '.join(map(str, rates.seeds))}"
    if len(rates.runs) < 2:
        return f"{named if rates.runs else 'none has run'}; two are needed to compare at matched ID accuracy."
    if rates.ends is None:
        return f"{named}; one is best in ID and OOD accuracy, so there is no line between them to compare with."
    low, high = rates.ends
    left_out = f" (not {', '.join(rates.beaten)}: another one is better on both)" if rates.beaten else ""
    beyond = [f"{row} ({scores.matched[row].identity:.1f})" for row in rows if _is_beyond(scores, row)]
    text = f"{named}{left_out}, with ID accuracies from {low:.1f} to {high:.1f}"
    return f"{text}; beyond these, and so without a number: {', '.join(beyond)}." if beyond else f"{text}."


def _is_beyond(scores: Scores, row: str) -> bool:
    return row in scores.matched and scores.matched[row].gain is None
