"""The report of a split against slow versions and hand-made cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.metrics import classification
from digrap.metrics.calibration import BINS, ece
from tests.reference import classification as slow


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 80), classes=st.integers(2, 6))
def test_equals_the_slow_versions(seed, n, classes):
    rng = np.random.default_rng(seed)
    prediction, label = rng.integers(classes, size=(2, n))
    # not on a bin's edge, where a rounding decides
    probability = (rng.integers(0, BINS, size=n) + rng.uniform(0.01, 0.99, size=n)) / BINS
    right = prediction == label
    assert classification.confusion(prediction, label, classes).tolist() == slow.confusion(prediction, label, classes)
    assert ece(probability, right) == pytest.approx(slow.ece(probability, right), abs=1e-10)
    top = np.stack([rng.permutation(classes)[:2] for _ in range(n)])
    names = tuple(map(str, range(classes)))
    found = classification.report({"prediction": prediction, "probability": probability, "top": top}, label, names)
    assert list(found["per_class"].values()) == pytest.approx(slow.per_class(prediction, label, classes))
    assert ("top2" in found) == (classes > 2)  # one of two is always right
    assert classes == 2 or found["top2"] == pytest.approx(
        100 * np.mean([y in row for y, row in zip(label, top, strict=True)])
    )
    assert sum(count for *_, count in found["confusions"]) <= n - right.sum()


def test_confusions_are_sorted_and_hold_no_right_answers():
    label = np.array([0, 0, 0, 1, 1, 2])
    prediction = np.array([1, 1, 0, 0, 1, 0])
    answers = {"prediction": prediction, "probability": np.full(6, 0.5), "top": prediction[:, None]}
    found = classification.report(answers, label, ("a", "b", "c"))
    assert found["confusions"] == [["a", "b", 2], ["b", "a", 1], ["c", "a", 1]]
    assert found["per_class"] == {"a": pytest.approx(100 / 3), "b": 50.0, "c": 0.0}
