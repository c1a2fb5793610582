"""Calibration: how far a model's probabilities are from its accuracy."""

from __future__ import annotations

import numpy as np

BINS = 15


def ece(probability: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in percent (Guo et al. 2017, arXiv 1706.04599).

    It is the mean gap between accuracy and mean probability of the predicted class, over equal bins (a, b] of that
    probability, weighted by their examples. `probability` is (n,) in [0, 1], `right` bool (n,).
    """
    place = np.clip(np.ceil(probability.astype(np.float64) * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - probability.astype(np.float64), minlength=bins)
    return 100.0 * float(np.abs(gaps).sum()) / right.size
