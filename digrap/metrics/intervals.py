"""95 % percentile bootstrap intervals of a mean over examples, in percent."""

from __future__ import annotations

import numpy as np

ENDS = (0.025, 0.975)
STREAM = 0  # RandomState's stream is frozen for good: the same interval with every NumPy
SHARE_DRAWS = 10_000
MEAN_DRAWS = 2_000


def share_interval(right: np.ndarray, draws: int = SHARE_DRAWS) -> list[float]:
    """[low, high] of the share of True in `right`, bool (n,). Resampling n yes-or-no examples is a binomial draw."""
    random = np.random.RandomState(STREAM)
    shares = random.binomial(right.size, np.count_nonzero(right) / right.size, size=draws) / right.size
    return [100.0 * float(end) for end in np.quantile(shares, ENDS)]


def mean_interval(scores: np.ndarray, draws: int = MEAN_DRAWS) -> list[float]:
    """[low, high] of the mean of `scores` (n,) in [0, 1].

    Scores take few distinct values, so resampling n examples is a multinomial draw of how often each value comes.
    """
    random = np.random.RandomState(STREAM)
    value, count = np.unique(np.round(scores, 12), return_counts=True)
    drawn = random.multinomial(len(scores), count / len(scores), size=draws)
    means = 100.0 * (drawn @ value) / len(scores)
    return [float(end) for end in np.quantile(means, ENDS)]
