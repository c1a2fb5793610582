"""What evaluate.py says of a split beyond its accuracy: intervals, top-5, classes, confusion, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 15
DRAWS = 10_000
WORST = 20  # confusions that are listed


def report(answers: dict[str, np.ndarray], label: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Scores of one split in percent.

    `answers` has prediction (n,), probability (n,) of it and top (n, k), the k most probable classes; `label` is (n,).
    Returns accuracy and top<k> with 95 % bootstrap intervals, ece, per_class {class: accuracy} (None for a class
    without examples) and confusions, the most frequent mistakes as [true, predicted, count].
    """
    right, top = answers["prediction"] == label, (answers["top"] == label[:, None]).any(axis=1)
    matrix = confusion(answers["prediction"], label, len(classes))
    count = matrix.sum(axis=1)
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:WORST]
    pairs = [np.unravel_index(place, matrix.shape) for place in order]
    return {
        "accuracy": percent(right), "accuracy_95": interval(right),
        f"top{answers['top'].shape[1]}": percent(top), f"top{answers['top'].shape[1]}_95": interval(top),
        "ece": ece(answers["probability"], right),
        "per_class": {
            name: 100.0 * int(matrix[k, k]) / int(count[k]) if count[k] else None for k, name in enumerate(classes)
        },
        "confusions": [[classes[a], classes[b], int(mistakes[a, b])] for a, b in pairs if mistakes[a, b]],
    }  # fmt: skip


def percent(right: np.ndarray) -> float:
    """The share of True in percent."""
    return 100.0 * int(np.count_nonzero(right)) / right.size


def interval(right: np.ndarray, draws: int = DRAWS) -> list[float]:
    """95 % percentile bootstrap over examples, in percent. Of yes and no, resampling n examples is a binomial draw."""
    random = np.random.RandomState(0)  # its stream is frozen for good: the same interval with every NumPy
    means = random.binomial(right.size, np.count_nonzero(right) / right.size, size=draws) / right.size
    return [100.0 * float(end) for end in np.quantile(means, (0.025, 0.975))]


def confusion(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """(true, predicted) counts."""
    flat = label.astype(np.int64) * classes + prediction
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def ece(probability: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in percent (Guo et al. 2017, arXiv 1706.04599): the mean gap between accuracy and mean
    probability of the predicted class, over equal bins (a, b] of that probability, weighted by their examples."""
    place = np.clip(np.ceil(probability.astype(np.float64) * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - probability.astype(np.float64), minlength=bins)
    return 100.0 * float(np.abs(gaps).sum()) / right.size
