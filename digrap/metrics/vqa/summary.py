"""The report of scored questions: accuracy overall and per type, exact and as the official code rounds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from digrap.core.errors import DigrapError
from digrap.metrics.accuracy import percent
from digrap.metrics.intervals import MEAN_DRAWS, mean_interval


def report(
    accuracy: np.ndarray,
    answer_types: Sequence[str | None] | None = None,
    question_types: Sequence[str | None] | None = None,
    draws: int = MEAN_DRAWS,
) -> dict[str, Any]:
    """Return {n, overall, per_answer_type: {type: cell}, per_question_type: {type: cell}} of accuracies (n,) in 0..1.

    A cell, as `overall` is one, has n, accuracy (percent), rounded (the official code's number) and interval_95 (95 %
    percentile bootstrap over questions, percent). Types stand in order of their names; questions whose type is None are
    in `overall` alone. Raises DigrapError without questions, and for accuracies or types that do not fit.
    """
    accuracy = np.asarray(accuracy, dtype=np.float64)
    if accuracy.ndim != 1 or not accuracy.size:
        raise DigrapError(f"accuracies have shape {accuracy.shape}: give those of one question or more as (n,)")
    if not ((accuracy >= 0) & (accuracy <= 1)).all():
        raise DigrapError("an accuracy is not in 0..1: give shares, not percent")
    return {
        "n": accuracy.size,
        "overall": cell(accuracy, draws),
        "per_answer_type": _by_type(accuracy, answer_types, "answer types", draws),
        "per_question_type": _by_type(accuracy, question_types, "question types", draws),
    }


def cell(accuracy: np.ndarray, draws: int = MEAN_DRAWS) -> dict[str, Any]:
    """Return n, accuracy, rounded and interval_95 of accuracies (n,) in 0..1."""
    n = len(accuracy)
    return {
        "n": n,
        "accuracy": percent(accuracy),
        "rounded": official(accuracy),
        "interval_95": mean_interval(accuracy, draws),
    }


def official(accuracy: np.ndarray) -> float:
    """Return the mean in percent, rounded to two digits by the official code's steps.

    The steps: added one by one, times 100, divided, rounded. A mean that ends in a 5 is rounded by
    its last bit, so that the order of the steps can be seen in the result.
    """
    return round(100 * float(np.cumsum(accuracy)[-1]) / len(accuracy), 2)


def _by_type(accuracy: np.ndarray, types: Sequence[str | None] | None, what: str, draws: int) -> dict[str, Any]:
    if types is None:
        return {}
    if len(types) != accuracy.size:
        raise DigrapError(f"{len(types)} {what} for {accuracy.size} accuracies: give one per question")
    places: dict[str, list[int]] = {}
    for place, name in enumerate(types):
        if name is not None:
            places.setdefault(name, []).append(place)
    return {name: cell(accuracy[places[name]], draws) for name in sorted(places)}
