"""The shipped adversary: answers from the question's words and the picture's colors alone, in whole numbers.

A linear classifier on a bag of words and a color histogram, which counts the picture's symbols by color. Weights and
arithmetic are whole numbers, so that every machine finds the same questions that it gets wrong: AdVQA's twin. It is
shipped as data/mini/minivqa_adversary.npz; tools/make_adversary.py makes it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from digrap.core.errors import DigrapError
from digrap.core.files import check_sha256, sha256, write_atomically
from digrap.core.paths import REPO
from digrap.data.mini.vqa.rows import STREAM, Row, chosen, rows_of, some
from digrap.data.mini.vqa.words import WORDS, words_of
from digrap.data.mini.vqa.world import CELLS, COLOR_NAMES, Scene

FILE = REPO / "data" / "mini" / "minivqa_adversary.npz"
SHA256 = "3863ad48ace7902d514b748675b0fbf6ea4100afd92417a3a533c801d7079efa"
QUESTIONS, EPOCHS = 8000, 6


class Adversary:
    """`answers` (A) in order, `weights` int64 (features, A): the answer with the highest score, of equal ones the
    first."""

    def __init__(self, answers: Sequence[str], weights: np.ndarray):
        self.answers, self.weights = tuple(answers), weights.astype(np.int64)

    def __call__(self, texts: Sequence[str], scenes: Sequence[Scene]) -> list[str]:
        """Return its answers to questions about scenes."""
        scores = features(texts, scenes) @ self.weights
        return [self.answers[at] for at in scores.argmax(1)]


def features(texts: Sequence[str], scenes: Sequence[Scene]) -> np.ndarray:
    """Return int64 (N, features): which words the question has, then for each color and number up to four whether the
    picture has that many symbols of it or more."""
    colors = np.array([scene.colors for scene in scenes]).reshape(-1, CELLS, 1)
    histogram = (colors == np.arange(len(COLOR_NAMES))).sum(1)  # (N, colors)
    return np.concatenate([1 * words_of(texts), *(1 * (histogram >= number) for number in range(1, CELLS + 1))], axis=1)


def train(texts: Sequence[str], scenes: Sequence[Scene], answers: Sequence[str]) -> Adversary:
    """Train a perceptron on the questions in their order, EPOCHS times; its weights are summed over all steps."""
    names = sorted(set(answers))
    used = [np.flatnonzero(row) for row in features(texts, scenes)]
    targets = [names.index(answer) for answer in answers]
    weights = np.zeros((len(WORDS) + len(COLOR_NAMES) * CELLS, len(names)), np.int64)
    total = weights.copy()
    for _ in range(EPOCHS):
        for row, target in zip(used, targets, strict=True):
            said = weights[row].sum(0).argmax()
            if said != target:
                weights[row, target] += 1
                weights[row, said] -= 1
            total += weights
    return Adversary(names, total)


def load(path: Path = FILE) -> Adversary:
    """Return the shipped adversary. Raises DigrapError where its file is missing or is another one."""
    check_sha256(path, SHA256, "restore it with `git checkout -- data/mini/minivqa_adversary.npz`")
    with np.load(io.BytesIO(path.read_bytes())) as archive:
        if archive["weights"].shape[0] != len(WORDS) + len(COLOR_NAMES) * CELLS:
            raise DigrapError(f"{path} is of another vocabulary; make it again with `python tools/make_adversary.py`")
        return Adversary(archive["answers"].tolist(), archive["weights"])


def make(path: Path) -> str:
    """Train the adversary, write it, and return its file's sha256 and its accuracy on as many fresh questions."""
    generator = np.random.default_rng([STREAM, 2**32])  # seeds of datasets are below
    rows = [_asked(generator) for _ in ("train", "test")]
    made = train(*_parts(rows[0]), [row.answer for row in rows[0]])
    right = sum(said == row.answer for said, row in zip(made(*_parts(rows[1])), rows[1], strict=True))
    content = {"answers": np.array(made.answers), "weights": made.weights.astype(np.int32)}
    write_atomically(path, lambda file: np.savez_compressed(file, **content))
    return f"{path}: sha256 {sha256(path)}, {100 * right / len(rows[1]):.1f} % of {len(rows[1])} fresh questions right"


def _asked(generator: np.random.Generator) -> list[Row]:
    return some(generator, rows_of(chosen(generator, QUESTIONS), "adversary", 0, generator))


def _parts(rows: list[Row]) -> tuple[list[str], list[Scene]]:
    return [row.text for row in rows], [row.picture.scene for row in rows]
