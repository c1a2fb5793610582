"""OOD accuracy at matched ID accuracy by its definition, one run, one draw and one example at a time."""

from __future__ import annotations

import random


def line(points):
    """The points (ID, OOD) that no other one beats on both, by rising ID accuracy."""
    kept = []
    for place, (identity, ood) in enumerate(points):
        others = [other for k, other in enumerate(points) if k != place and other != (identity, ood)]
        beaten = any(other[0] >= identity and other[1] >= ood for other in others)
        if not beaten and (identity, ood) not in kept:
            kept.append((identity, ood))
    return sorted(kept)


def gain(points, row):
    """The row's OOD accuracy above the line at its ID accuracy; at the nearest end where it lies beyond."""
    kept, (identity, ood) = line(points), row
    if identity <= kept[0][0]:
        return ood - kept[0][1]
    for (x0, y0), (x1, y1) in zip(kept, kept[1:], strict=False):
        if x0 <= identity <= x1:
            return ood - (y0 + (y1 - y0) * (identity - x0) / (x1 - x0))
    return ood - kept[-1][1]


def beyond(points, row):
    """Whether there is no number: fewer than two points on the line, or the row outside of its ends."""
    kept = line(points)
    return len(kept) < 2 or not kept[0][0] <= row[0] <= kept[-1][0]


def gains_drawn(answers, shared=False, draws=300, stream=0):
    """Sorted gains of resampled seeds and examples; answers[seed][split][run][example], the last run is the row, the
    first split the ID test."""
    chance = random.Random(stream)
    seeds, splits = len(answers), len(answers[0])
    result = []
    for _ in range(draws):
        once = [_indices(chance, len(answers[0][split][0])) for split in range(splits)]
        runs = len(answers[0][0])
        points = [[0.0, 0.0] for _ in range(runs)]
        for _ in range(seeds):
            seed = answers[chance.randrange(seeds)]
            for split in range(splits):
                indices = once[split] if shared else _indices(chance, len(seed[split][0]))
                for run in range(runs):
                    mean = sum(seed[split][run][index] for index in indices) / len(indices)
                    points[run][split > 0] += 100 * mean / seeds / (1 if split == 0 else splits - 1)
        points = [tuple(point) for point in points]
        result.append(gain(points[:-1], points[-1]))
    return sorted(result)


def _indices(chance, n):
    return [chance.randrange(n) for _ in range(n)]
