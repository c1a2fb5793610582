"""Scores of a classifier, one example at a time."""

from __future__ import annotations

import math


def per_class(prediction, label, classes):
    """Accuracy of every class in percent; None for a class without examples."""
    result = []
    for k in range(classes):
        own = [p == k for p, y in zip(prediction, label, strict=True) if y == k]
        result.append(100.0 * sum(own) / len(own) if own else None)
    return result


def confusion(prediction, label, classes):
    """Counts by true and predicted class."""
    table = [[0] * classes for _ in range(classes)]
    for p, y in zip(prediction, label, strict=True):
        table[y][p] += 1
    return table


def ece(probability, right, bins=15):
    """Σ over bins of n_b/N |accuracy_b − confidence_b|, bin b holding probabilities in (b/bins, (b+1)/bins]."""
    total, n = 0.0, len(probability)
    for b in range(bins):
        held = [
            (p, r)
            for p, r in zip(probability, right, strict=True)
            if b / bins < p <= (b + 1) / bins or (b == 0 and p == 0)
        ]
        if held:
            accuracy = sum(r for _, r in held) / len(held)
            confidence = math.fsum(p for p, _ in held) / len(held)
            total += len(held) / n * abs(accuracy - confidence)
    return 100.0 * total
