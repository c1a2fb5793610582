"""Is a method worth more than a smaller learning rate? OOD gain at matched ID accuracy, with an interval.

The reference points of a seed (the pre-trained model, vanilla fine-tuning with several learning rates) make its front:
OOD accuracy as a function of ID accuracy, linear between the points that no other one beats on both. A contender's gain
is its OOD accuracy minus the front's at its ID accuracy; beyond the front's ends the nearest end counts. Accuracies are
those of the ID test split and the mean over the OOD splits, in percent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digrap.core.errors import DigrapError
from digrap.report.formats import format_difference
from digrap.report.gather import OOD, load_run
from digrap.report.paired import how_often

LEVEL = 95


@dataclass(frozen=True)
class Answers:
    """One run: the scores in [0, 1] of its test examples, of the ID split and by OOD split, and its ID-validation
    score."""

    identity: np.ndarray
    ood: dict[str, np.ndarray]
    validation: float


@dataclass(frozen=True)
class Gain:
    """A contender over all seeds, in percent; `low` to `high` is the interval of `gain`. `beyond` counts the seeds
    whose ID accuracy lies outside their front."""

    identity: float
    ood: float
    gain: float
    low: float
    high: float
    beyond: int
    seeds: int


def read_answers(folder: Path, kinds: dict[str, str], scorer: str | None = None) -> Answers:
    """How a finished run answered; `kinds` maps its splits to their kinds. Raises DigrapError for damaged files."""
    run = load_run(folder)
    identity = [run.example_scores(name, scorer) for name, kind in kinds.items() if kind == "id_test"]
    ood = {name: run.example_scores(name, scorer) for name, kind in kinds.items() if kind in OOD}
    if len(identity) != 1 or not ood:
        raise DigrapError(f"{folder}: to judge, a dataset needs one split of kind id_test and one or more OOD splits")
    return Answers(identity[0], ood, float(run.results.selection["score"]))


def front(identity: np.ndarray, ood: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points that no other one beats on both axes, by rising ID accuracy."""
    order = np.lexsort((-ood, -identity))  # falling ID accuracy; of equals the higher OOD first
    identity, ood = identity[order], ood[order]
    best = np.maximum.accumulate(ood)
    keep = np.concatenate(([True], ood[1:] > best[:-1]))
    return identity[keep][::-1], ood[keep][::-1]


def judge(
    reference: dict[str, list[Answers]], contenders: dict[str, list[Answers]], draws: int = 1000, seed: int = 0
) -> dict[str, Gain]:
    """Each contender's gain over the reference points; every list has one run per seed, in the same order.

    The interval is a percentile bootstrap over seeds and over examples. The examples drawn are the same for every run
    of a seed, since all of them answered the same ones.
    """
    rows = [*reference.items(), *contenders.items()]
    generator = np.random.default_rng(seed)
    count = len(rows[0][1])
    point, drawn, beyond = [], [], []
    for place in range(count):
        runs = [answers[place] for _, answers in rows]
        _check_paired(runs, [row for row, _ in rows])
        whole, resampled = _accuracies(runs, draws, generator)
        gains, outside = gains_over_front(whole[None], len(reference))
        point.append(gains[0])
        beyond.append(outside[0])
        drawn.append(gains_over_front(resampled, len(reference))[0])
    low, high = _interval(np.array(point), np.array(drawn), generator)
    result = {}
    for k, (row, answers) in enumerate(contenders.items()):
        identity, ood = (np.mean([values(run) for run in answers]) for values in (_identity, _ood))
        gain = float(np.mean([gains[k] for gains in point]))
        outside = int(sum(flags[k] for flags in beyond))
        result[row] = Gain(float(identity), float(ood), gain, float(low[k]), float(high[k]), outside, count)
    return result


def accuracy(answers: list[Answers]) -> tuple[float, float]:
    """ID accuracy and OOD mean in percent, over seeds."""
    return float(np.mean([_identity(run) for run in answers])), float(np.mean([_ood(run) for run in answers]))


def chosen(candidates: dict[str, list[Answers]]) -> str:
    """The candidate with the best ID validation over the seeds; the first of equals. OOD answers are not looked at."""
    return max(candidates, key=lambda row: float(np.mean([run.validation for run in candidates[row]])))


def verdict(name: str, gain: Gain, step: float) -> str:
    """One line."""
    interval = f"{LEVEL} % {format_difference(gain.low)} … {format_difference(gain.high)}"
    seeds = f"{gain.seeds} seed{'s' * (gain.seeds != 1)}"
    if gain.low > 0:
        text = f"{name} keeps {format_difference(gain.gain)} points OOD at matched ID accuracy ({interval})"
    elif gain.high < 0:
        text = f"{name} is worse: {format_difference(gain.gain)} points OOD at matched ID accuracy ({interval})"
    else:
        text = (
            f"{name} makes no difference at matched ID accuracy that {seeds} can show "
            f"({format_difference(gain.gain)} points OOD, {interval})"
        )
    return f"verdict: {text}, step {step:.1f} × fused AdamW"


def _identity(run: Answers) -> float:
    return 100 * float(run.identity.mean())


def _ood(run: Answers) -> float:
    return 100 * float(np.mean([scores.mean() for scores in run.ood.values()]))


def _check_paired(runs: list[Answers], rows: list[str]) -> None:
    shapes = {(len(run.identity), *((name, len(right)) for name, right in run.ood.items())) for run in runs}
    if len(shapes) > 1:
        raise DigrapError(f"runs of one seed were tested on different examples: {', '.join(rows)}; make them again")


def _accuracies(runs: list[Answers], draws: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(runs × 2) ID and OOD accuracies in percent, and (draws × runs × 2) of resampled examples."""
    splits = [np.array([run.identity for run in runs])]
    splits += [np.array([run.ood[name] for run in runs]) for name in runs[0].ood]
    whole, drawn = [], []
    for right in splits:
        n = right.shape[1]
        exact = np.float32 if np.isin(right, (0, 1)).all() else np.float64  # sums of 0 and 1 are exact in either
        times = how_often(generator.integers(n, size=(draws, n)))
        whole.append(100 * right.mean(1))
        drawn.append(100 * (times.astype(exact) @ right.T.astype(exact)).astype(float) / n)
    return (
        np.stack([whole[0], np.mean(whole[1:], axis=0)], -1),
        np.stack([drawn[0], np.mean(drawn[1:], axis=0)], -1),
    )


def gains_over_front(points: np.ndarray, references: int) -> tuple[np.ndarray, np.ndarray]:
    """(draws × contenders) gains, and whether each lies outside the front's ends; `points` are (draws × rows × 2) ID
    and OOD accuracies, the first rows the references."""
    gains, outside = [], []
    for rows in points:
        identity, ood = front(rows[:references, 0], rows[:references, 1])
        mine = rows[references:]
        gains.append(mine[:, 1] - np.interp(mine[:, 0], identity, ood))
        outside.append((mine[:, 0] < identity[0]) | (mine[:, 0] > identity[-1]))
    return np.array(gains), np.array(outside)


def _interval(point: np.ndarray, drawn: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval from (seeds × contenders) gains and (seeds × draws × contenders) of resampled examples.

    Seeds are drawn with replacement; what they add is widened by √(S / (S − 1)), without which few seeds would
    show too small a spread. With one seed only examples vary.
    """
    seeds, draws, _ = drawn.shape
    which = generator.integers(seeds, size=(draws, seeds))
    among = generator.integers(draws, size=(draws, seeds))  # a seed drawn twice gets examples of its own each time
    examples = (drawn[which, among] - point[which]).mean(1)
    between = point[which].mean(1) - point.mean(0)
    widened = between * np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 0 * between
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(point.mean(0) + examples + widened, [tail, 100 - tail], axis=0)
    return low, high
