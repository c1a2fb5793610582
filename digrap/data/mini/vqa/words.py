"""The closed vocabulary of minivqa: every word of its questions, captions and answers, lower case.

A text is split at spaces; "?" and "," are words of their own. The order is that of a tokenizer's ids: words are added
at the end only, because shipped weights depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from digrap.data.mini.symbols import CLASSES

COLOR_WORDS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "gray", "white")
NUMBER_WORDS = ("0", "1", "2", "3", "4")
SIGNS = (
    "bank", "bus", "cafe", "exit", "gas", "hello", "hotel", "milk", "open", "park", "pay", "pizza", "pull", "push",
    "road", "sale", "shop", "stop", "taxi", "zoo",
)  # fmt: skip
"""The words that are written in pictures, in capital letters there and in lower case in answers."""

_ANSWERS = "yes no left right top bottom none unanswerable sky sea garden forest kitchen office hot cold winter summer"
_QUESTIONS = (
    "? , how many symbols symbol are there what color is the a an of in image picture at or which does do you see can "
    "be seen has have name count number on side where that it each to fly alive found shine animal used for "
    "game season say says written read word show shows with and this any here only one"
)


def name_of(label: str) -> str:
    """Return a class's name in words: "crescent moon" of crescent_moon."""
    return label.replace("_", " ")


def _all() -> tuple[str, ...]:
    symbols = (word for label in CLASSES for word in name_of(label).split())
    words = (*_QUESTIONS.split(), *NUMBER_WORDS, *_ANSWERS.split(), *COLOR_WORDS, *symbols, *SIGNS)
    return tuple(dict.fromkeys(words))


WORDS: tuple[str, ...] = _all()

_PLACES = {word: place for place, word in enumerate(WORDS)}


def words_of(texts: Sequence[str]) -> np.ndarray:
    """Return which of WORDS each text has: bool (N, W)."""
    found = np.zeros((len(texts), len(WORDS)), bool)
    for row, text in enumerate(texts):
        found[row, [_PLACES[word] for word in text.split()]] = True
    return found
