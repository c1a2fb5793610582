"""The paired bootstrap by its definition: draw seeds, draw examples, average; one index at a time."""

from __future__ import annotations

import random


def paired_bootstrap(differences, shared=False, draws=1000, stream=0):
    """Sorted mean differences over splits; differences[seed][split][example] is a float in [−1, 1]."""
    chance = random.Random(stream)
    seeds, splits = len(differences), len(differences[0])
    means = []
    for _ in range(draws):
        once = [_indices(chance, len(differences[0][split])) for split in range(splits)]
        total = 0.0
        for _ in range(seeds):
            seed = chance.randrange(seeds)
            for split in range(splits):
                found = differences[seed][split]
                indices = once[split] if shared else _indices(chance, len(found))
                total += sum(found[index] for index in indices) / len(indices)
        means.append(total / seeds / splits)
    return sorted(means)


def _indices(chance, n):
    return [chance.randrange(n) for _ in range(n)]
