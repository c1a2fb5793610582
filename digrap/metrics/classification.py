"""Classification scores of a split beyond its accuracy: intervals, top-k, classes, confusions, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from digrap.metrics.accuracy import percent
from digrap.metrics.calibration import ece
from digrap.metrics.intervals import share_interval

WORST = 20  # confusions that are listed


def report(answers: dict[str, np.ndarray], label: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Scores of one split in percent.

    `answers` has prediction (n,), probability (n,) of it and top (n, k), the k most probable classes; `label` is (n,).
    Returns accuracy, and top<k> where there are more classes than k, with 95 % bootstrap intervals, ece, per_class
    {class: accuracy} (None for a class without examples) and confusions, the most frequent mistakes as
    [true, predicted, count].
    """
    right, top = answers["prediction"] == label, (answers["top"] == label[:, None]).any(axis=1)
    matrix = confusion(answers["prediction"], label, len(classes))
    count = matrix.sum(axis=1)
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:WORST]
    pairs = [np.unravel_index(place, matrix.shape) for place in order]
    k = answers["top"].shape[1]  # as many as there are classes: always right
    most_probable = {f"top{k}": percent(top), f"top{k}_95": share_interval(top)} if k < len(classes) else {}
    return {
        "accuracy": percent(right), "accuracy_95": share_interval(right), **most_probable,
        "ece": ece(answers["probability"], right),
        "per_class": {
            name: 100.0 * int(matrix[k, k]) / int(count[k]) if count[k] else None for k, name in enumerate(classes)
        },
        "confusions": [[classes[a], classes[b], int(mistakes[a, b])] for a, b in pairs if mistakes[a, b]],
    }  # fmt: skip


def confusion(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes) of examples by true (row) and predicted (column) class."""
    flat = label.astype(np.int64) * classes + prediction
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)
