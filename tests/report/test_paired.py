"""The paired tests against a slow, obvious version and against arithmetic."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.report.paired import bootstrap, mcnemar, paired, standard
from tests.reference.paired_bootstrap import paired_bootstrap


def some(seeds, splits, n, own=True):
    """Differences of a few seeds whose means lie apart; own=False: alike examples, most with the same difference."""
    random = np.random.RandomState(3)
    found = [[random.choice([-1, 0, 1], n, p=[0.2, 0.4, 0.4]) for _ in range(splits)] for _ in range(seeds)]
    if not own:
        for seed in found[1:]:
            for split, first in zip(seed, found[0], strict=True):
                alike = random.random_sample(n) < 0.8
                split[alike] = first[alike]
    return [[split.astype(np.int8) for split in seed] for seed in found]


@pytest.mark.parametrize("shared", [False, True])
def test_the_fast_bootstrap_is_the_slow_one(shared):
    differences = some(3, 2, 40, own=not shared)
    fast = bootstrap(differences, shared).mean(axis=1)
    slow = np.array(paired_bootstrap([[split.tolist() for split in seed] for seed in differences], shared, 3000))
    error = fast.std() * math.sqrt(1 / len(fast) + 1 / len(slow))  # of the difference of the two means
    assert abs(fast.mean() - slow.mean()) < 4 * error
    assert fast.std() == pytest.approx(slow.std(), rel=0.08)
    for share in (0.025, 0.5, 0.975):
        assert np.quantile(fast, share) == pytest.approx(np.quantile(slow, share), abs=0.012)


@pytest.mark.parametrize("shared", [False, True])
def test_soft_scores_are_resampled_as_by_the_slow_one(shared):
    random = np.random.RandomState(5)
    scores = random.choice([0.0, 0.3, 0.6, 0.9, 1.0], (2, 3, 2, 40))
    if shared:
        scores[:, 1:] = np.where(random.random_sample((2, 2, 2, 40)) < 0.8, scores[:, :1], scores[:, 1:])
    differences = [list(seed) for seed in scores[0] - scores[1]]
    fast = bootstrap(differences, shared).mean(axis=1)
    slow = np.array(paired_bootstrap([[split.tolist() for split in seed] for seed in differences], shared, 3000))
    error = fast.std() * math.sqrt(1 / len(fast) + 1 / len(slow))
    assert abs(fast.mean() - slow.mean()) < 4 * error
    assert fast.std() == pytest.approx(slow.std(), rel=0.08)
    for share in (0.025, 0.5, 0.975):
        assert np.quantile(fast, share) == pytest.approx(np.quantile(slow, share), abs=0.012)


def three_counts(seeds, draws):
    """Own examples of one split, as right, wrong and alike are resampled: a multinomial over their three counts."""
    random = np.random.RandomState(0)
    picked = random.randint(len(seeds), size=(draws, len(seeds)))
    result = np.empty(picked.shape)
    for seed, difference in enumerate(seeds):
        here, n = picked == seed, len(difference)
        shares = np.array([np.count_nonzero(difference == value) for value in (1, -1, 0)]) / n
        counts = random.multinomial(n, shares, size=np.count_nonzero(here))
        result[here] = (counts[:, 0] - counts[:, 1]) / n
    return result.mean(axis=1)


SIGNS = st.lists(st.sampled_from([1.0, 0.0, -1.0]), min_size=1, max_size=30)
SOFT = st.lists(st.floats(-1, 1), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(st.lists(SIGNS, min_size=1, max_size=4))
def test_right_and_wrong_take_the_draws_of_three_counts(seeds):
    seeds = [np.array(seed) for seed in seeds]
    assert bootstrap([[seed] for seed in seeds], draws=40)[:, 0].tobytes() == three_counts(seeds, 40).tobytes()


@settings(max_examples=40, deadline=None)
@given(SOFT, st.booleans(), st.randoms())
def test_draws_lie_between_the_values_whatever_their_order(values, shared, chance):
    difference = np.array(values)
    draws = bootstrap([[difference]], shared, draws=50)
    assert difference.min() - 1e-9 <= draws.min() and draws.max() <= difference.max() + 1e-9
    chance.shuffle(values)
    assert np.array_equal(bootstrap([[np.array(values)]], shared, draws=50), draws)


def test_many_distinct_values_are_drawn_in_parts(monkeypatch):
    differences = [[np.random.RandomState(1).uniform(-1, 1, 200)] for _ in range(2)]
    whole = bootstrap(differences, draws=100)
    monkeypatch.setattr("digrap.report.paired.CELLS", 1000)
    assert np.array_equal(bootstrap(differences, draws=100), whole)


def test_shared_examples_keep_their_spread():
    """The same examples for every seed: three seeds that answer alike tell no more than one."""
    once = some(1, 1, 200)
    alike = [once[0]] * 3
    own, shared = (bootstrap(alike, shared=value)[:, 0].std() for value in (False, True))
    assert shared == pytest.approx(bootstrap(once)[:, 0].std(), rel=0.05)
    assert own == pytest.approx(shared / math.sqrt(3), rel=0.05)


def test_known_cases():
    always = [[np.ones(50, np.int8)], [np.ones(50, np.int8)]]
    test = paired(1.0, bootstrap(always)[:, 0])
    assert (test.low, test.high, test.p) == (1.0, 1.0, 1 / 10_001)
    never = [[np.zeros(50, np.int8)]]
    test = paired(0.0, bootstrap(never)[:, 0])
    assert (test.low, test.high, test.p) == (0.0, 0.0, 1.0)
    # One seed, n examples of +1 with share q: a binomial's standard error.
    one = [[np.repeat([1, 0], [30, 70]).astype(np.int8)]]
    assert bootstrap(one).std() == pytest.approx(math.sqrt(0.3 * 0.7 / 100), rel=0.03)
    # Two seeds, each certain: only the seeds vary; both are −1 in a quarter of the draws, half of them are ties.
    two = [[np.ones(10, np.int8)], [-np.ones(10, np.int8)]]
    assert paired(0.0, bootstrap(two)[:, 0]).p == pytest.approx(0.75, abs=0.02)


def test_the_draws_are_the_same_every_time():
    differences = some(2, 3, 30)
    assert np.array_equal(bootstrap(differences), bootstrap(differences))
    # RandomState's stream is frozen: these numbers hold for every NumPy.
    assert bootstrap(differences, draws=3)[:, 0].tolist() == pytest.approx([11 / 60, 9 / 60, 22 / 60])


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 64), (8, 2, 2 * (1 + 10 + 45) / 1024), (3, 2, 1.0)],
)
def test_mcnemar_is_exact(only_first, only_second, p):
    first = np.array([True] * only_first + [False] * only_second + [True, False] * 7)
    second = np.array([False] * only_first + [True] * only_second + [True, False] * 7)
    assert mcnemar(first, second) == pytest.approx(p) == mcnemar(second, first)


def test_mcnemar_is_for_right_and_wrong_alone():
    assert mcnemar(np.array([1.0, 0.0]), np.array([0.0, 0.5])) is None
    assert mcnemar(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_mcnemar_with_many_examples_is_the_normal_law():
    first, second = np.zeros(20_000, bool), np.zeros(20_000, bool)
    first[:10_200], second[10_200:] = True, True
    z = (400 - 1) / math.sqrt(20_000)
    assert mcnemar(first, second) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def test_mean_and_spread():
    values = [80.1, 82.3, 84.2]
    assert standard(values) == (pytest.approx(statistics.fmean(values)), pytest.approx(statistics.stdev(values)), 3)
    assert math.isnan(standard([1.0])[1]) and math.isnan(standard([])[0])
