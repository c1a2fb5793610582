"""Expected calibration error by hand; against the slow version see test_classification.py."""

import numpy as np
import pytest

from digrap.metrics.calibration import ece


@pytest.mark.parametrize(("probability", "right", "expected"), [(1.0, 1, 0.0), (1.0, 0, 100.0), (0.8, 1, 20.0)])
def test_calibration_by_hand(probability, right, expected):
    assert ece(np.full(10, probability), np.full(10, right)) == pytest.approx(expected)
