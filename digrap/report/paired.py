"""Paired tests between two rows or two runs that answered the same examples: a bootstrap, and McNemar's exact test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
ALPHA = 0.05
STREAM = 0
CELLS = 10**7  # counts at once: those of all draws would fill the memory
SIGNS = (1.0, -1.0, 0.0)
DIGITS = 12  # to which differences are rounded: equal ones are then one category


@dataclass(frozen=True)
class Paired:
    """A mean difference with its 95 % interval and one-sided p: the share of draws that are not above zero."""

    mean: float
    low: float
    high: float
    p: float


def bootstrap(
    differences: Sequence[Sequence[np.ndarray]], shared: bool = False, draws: int = DRAWS, stream: int = STREAM
) -> np.ndarray:
    """(draws, splits): mean differences after resampling seeds with replacement, and examples within them.

    `differences[seed][split]` has the score of every example in the first row minus that in the second: any values in
    [−1, 1]. `shared`: every seed was tested on the same examples; these are then resampled once for all seeds, not for
    each by itself, which would take what the examples have in common for chance.
    """
    # RandomState: its stream is frozen for good, a Generator's may change with numpy, and verify compares bytes.
    random = np.random.RandomState(stream)
    picked = random.randint(len(differences), size=(draws, len(differences)))
    resample = _shared_examples if shared else _own_examples
    splits = range(len(differences[0]))
    return np.stack([resample(random, picked, [seed[k] for seed in differences]).mean(axis=1) for k in splits], axis=1)


def resampled(
    scores: Sequence[Sequence[np.ndarray]], shared: bool = False, draws: int = DRAWS, stream: int = STREAM
) -> np.ndarray:
    """(draws, splits, runs): mean scores of several runs after the same resampling of seeds and of their examples.

    `scores[seed][split]` is (examples, runs) in [0, 1]; the draws are the same whatever runs there are.
    """
    random = np.random.RandomState(stream)
    picked = random.randint(len(scores), size=(draws, len(scores)))
    result = []
    for split in range(len(scores[0])):
        found = [seed[split] for seed in scores]
        if shared:
            drawn = _drawn_means(random, np.concatenate(found, axis=1), draws).reshape(draws, len(found), -1)
            drawn = np.take_along_axis(drawn, picked[:, :, None], axis=1)
        else:
            drawn = np.empty((*picked.shape, found[0].shape[1]))
            for seed, one in enumerate(found):
                drawn[picked == seed] = _drawn_means(random, one, np.count_nonzero(picked == seed))
        result.append(drawn.mean(axis=1))
    return np.stack(result, axis=1)


def _drawn_means(random: np.random.RandomState, scores: np.ndarray, draws: int) -> np.ndarray:
    """(draws, runs): means of resampled examples, from scores (examples, runs)."""
    n, parts = len(scores), []
    chunk = max(1, CELLS // n)
    for start in range(0, draws, chunk):
        times = how_often(random.randint(n, size=(min(chunk, draws - start), n)))
        parts.append(times.astype(float) @ scores / n)
    drawn = np.concatenate(parts) if parts else np.empty((0, scores.shape[1]))
    return np.round(drawn, DIGITS)  # a matrix product sums in another order on another machine


def how_often(drawn: np.ndarray) -> np.ndarray:
    """How often each example was drawn: (draws, n) from as many indices below n."""
    draws, n = drawn.shape
    return np.bincount((drawn + n * np.arange(draws)[:, None]).ravel(), minlength=draws * n).reshape(draws, n)


def _own_examples(random: np.random.RandomState, picked: np.ndarray, seeds: list[np.ndarray]) -> np.ndarray:
    """Means (draws, seeds) of a split. A multinomial over the counts of distinct values is the resampling of the
    examples."""
    result = np.empty(picked.shape)
    for seed, difference in enumerate(seeds):
        here = picked == seed
        values, counts = np.unique(_rounded(difference), return_counts=True)
        others = ~np.isin(values, SIGNS)
        # +1, −1 and 0 come first, present or not: differences of right and wrong always take the same draws.
        known = [int(counts[values == sign].sum()) for sign in SIGNS]
        values, counts = np.array([*SIGNS, *values[others]]), np.array([*known, *counts[others]])
        result[here] = _means(random, values[:, None], counts, np.count_nonzero(here))[:, 0]
    return result


def _shared_examples(random: np.random.RandomState, picked: np.ndarray, seeds: list[np.ndarray]) -> np.ndarray:
    """The same where all seeds have the same examples: a multinomial over the patterns (difference by seed) there."""
    patterns, counts = np.unique(_rounded(np.stack(seeds, axis=1)), axis=0, return_counts=True)
    return np.take_along_axis(_means(random, patterns, counts, len(picked)), picked, axis=1)


def _rounded(differences: np.ndarray) -> np.ndarray:
    return np.round(differences.astype(np.float64), DIGITS) + 0.0  # + 0.0: no −0.0


def _means(random: np.random.RandomState, values: np.ndarray, counts: np.ndarray, draws: int) -> np.ndarray:
    """(draws, seeds): means of resampled examples, of which counts (k,) have the values (k, seeds)."""
    n, parts = counts.sum(), []
    chunk = max(1, CELLS // len(counts))
    for start in range(0, draws, chunk):
        drawn = random.multinomial(n, counts / n, size=min(chunk, draws - start))
        total = np.zeros((len(drawn), values.shape[1]))
        for k, value in enumerate(values):  # one order of summation on every machine, which a matrix product has not
            total += drawn[:, k, None] * value
        parts.append(total / n)
    return np.concatenate(parts) if parts else np.empty((0, values.shape[1]))


def paired(mean: float, draws: np.ndarray) -> Paired:
    """Interval and p of an observed mean difference from its draws."""
    low, high = np.quantile(draws, (0.025, 0.975))
    ties = 1e-9  # sums of the same fractions may miss zero by rounding
    p = (1 + np.count_nonzero(draws <= ties)) / (1 + len(draws))  # + 1: no p of zero from finitely many draws
    return Paired(mean, float(low), float(high), float(p))


def mcnemar(first: np.ndarray, second: np.ndarray) -> float | None:
    """Two-sided exact p for the scores of the same examples in two runs: are the examples that one alone got right as
    often either's? None where a score is neither 0 nor 1."""
    if not all(np.isin(scores, (0, 1)).all() for scores in (first, second)):
        return None
    only = int(np.count_nonzero(first > second)), int(np.count_nonzero(second > first))  # Python's: exact
    n, term, total = sum(only), 1, 0
    for k in range(min(only) + 1):
        total += term
        term = term * (n - k) // (k + 1)
    return min(1.0, 2 * total / 2**n)


def standard(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, sample standard deviation (NaN for one value) and number; correctly rounded, so alike on every machine."""
    n = len(values)
    if n == 0:
        return math.nan, math.nan, 0
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else math.nan
    return mean, spread, n
