"""The mean score of a split's examples."""

from __future__ import annotations

import math

import numpy as np


def percent(scores: np.ndarray) -> float:
    """The mean of scores (n,) in [0, 1] or of booleans, in percent.

    The sum is correctly rounded: the same number whatever the order of the examples. Raises ZeroDivisionError for none.
    """
    return 100.0 * math.fsum(scores.tolist()) / len(scores)
