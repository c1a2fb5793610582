"""Bootstrap intervals: exact at the ends, near the normal approximation, and the same numbers for good."""

import numpy as np
import pytest

from digrap.metrics.intervals import mean_interval, share_interval


def test_intervals_of_equal_examples_are_points():
    assert share_interval(np.ones(50, dtype=bool)) == [100.0, 100.0]
    assert mean_interval(np.ones(50)) == [100.0, 100.0]


def test_a_shares_interval_is_near_the_normal_one():
    low, high = share_interval(np.arange(1000) < 700)
    error = 100 * (0.7 * 0.3 / 1000) ** 0.5
    assert low == pytest.approx(70 - 1.96 * error, abs=0.3) and high == pytest.approx(70 + 1.96 * error, abs=0.3)


def test_a_means_interval_is_near_the_normal_one_and_ignores_order():
    values = np.random.default_rng(1).choice([0.0, 0.3, 0.6, 0.9, 1.0], size=3000, p=[0.3, 0.1, 0.1, 0.1, 0.4])
    low, high = mean_interval(values)
    error = 100 * values.std() / 3000**0.5
    assert low == pytest.approx(100 * values.mean() - 1.96 * error, abs=0.15)
    assert high == pytest.approx(100 * values.mean() + 1.96 * error, abs=0.15)
    assert mean_interval(values) == mean_interval(values[::-1])


def test_the_numbers_stay():
    """Published results hold intervals of these streams and draws."""
    right = np.arange(321) % 3 > 0
    assert share_interval(right) == [61.37071651090342, 71.96261682242991]
    scores = np.tile([0.0, 0.3, 0.6, 0.9, 1.0, 1 / 3], 50)[:299]
    assert mean_interval(scores) == [48.31633221850021, 56.26532887401942]
