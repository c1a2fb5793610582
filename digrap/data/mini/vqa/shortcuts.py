"""Multi-modal shortcuts, mined from training questions as VQA-CE's authors do (Dancette et al. 2021).

A rule is: these question words (one or two) and these objects in the picture (one or two) → this answer. It is kept
where the share SUPPORT of the training questions or more has its words, its objects and its answer, and the share
CONFIDENCE or more of those with its words and objects has its answer. A question that rules match, none of them with an
answer that one of its annotators gave, is a counterexample; one that no rule matches is hard.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from digrap.data.mini.vqa.rows import Row
from digrap.data.mini.vqa.words import words_of
from digrap.data.mini.vqa.world import OBJECT_NAMES

SUPPORT = 0.005  # of the training questions: 40 of 8,000
CONFIDENCE = 0.35


class Rules(NamedTuple):
    """Mined rules: row r of `words` (R, W) and `objects` (R, O) marks the antecedent, `answers` has its answer."""

    words: np.ndarray
    objects: np.ndarray
    answers: tuple[str, ...]


def antecedents(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return which of WORDS each question has, bool (N, W), and which objects its picture has, bool (N, O)."""
    words, objects = words_of([row.text for row in rows]), np.zeros((len(rows), len(OBJECT_NAMES)), bool)
    for at, row in enumerate(rows):
        objects[at, [kind for kind in row.picture.scene.objects if kind >= 0]] = True
    return words, objects


def mine(rows: Sequence[Row], support: float = SUPPORT, confidence: float = CONFIDENCE) -> Rules:
    """Return all rules of the training questions, in no particular order."""
    words, objects = antecedents(rows)
    least = support * len(rows)
    word_sets, object_sets = _frequent(words, least), _frequent(objects, least)
    has_words, has_objects = _having(words, word_sets), _having(objects, object_sets)
    total = (has_words.T @ has_objects).astype(float)  # questions with both: exact in float32 below 2 ** 24
    answers = np.array([row.answer for row in rows])
    kept = []
    for answer in sorted(set(answers)):
        those = answers == answer
        right = has_words[those].T @ has_objects[those]
        kept += [(*pair, answer) for pair in np.argwhere((right >= least) & (right >= confidence * total))]
    first, second = np.zeros((len(kept), words.shape[1]), bool), np.zeros((len(kept), objects.shape[1]), bool)
    for at, (word_set, object_set, _) in enumerate(kept):
        first[at, word_sets[word_set]] = second[at, object_sets[object_set]] = True
    return Rules(first, second, tuple(str(answer) for *_, answer in kept))


def _frequent(items: np.ndarray, least: float) -> list[list[int]]:
    """Return the single items and pairs that `least` rows or more have."""
    counts = items.astype(np.float32).T @ items.astype(np.float32)
    often = np.flatnonzero(np.diag(counts) >= least).tolist()
    return [[at] for at in often] + [list(pair) for pair in combinations(often, 2) if counts[pair] >= least]


def _having(items: np.ndarray, sets: list[list[int]]) -> np.ndarray:
    """Return which rows have all items of each set: float32 (N, sets)."""
    return np.stack([items[:, chosen].all(1) for chosen in sets], 1).astype(np.float32)


def judge(rules: Rules, rows: Sequence[Row]) -> list[str]:
    """Return counterexamples, hard or easy for each question."""
    words, objects = (part.astype(np.float32) for part in antecedents(rows))
    needed = rules.words.sum(1) + rules.objects.sum(1)
    matched = words @ rules.words.T.astype(np.float32) + objects @ rules.objects.T.astype(np.float32) == needed
    names = sorted(set(rules.answers))
    of = np.array([names.index(answer) for answer in rules.answers])
    said = np.stack([matched[:, of == at].any(1) for at in range(len(names))], 1)
    found = []
    for row, given in zip(rows, said, strict=True):
        answers = {names[at] for at in np.flatnonzero(given)}
        found.append("hard" if not answers else "easy" if answers & set(row.answers) else "counterexamples")
    return found
