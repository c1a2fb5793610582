"""Ten simulated annotators a question: mostly right, with slips that a person could make.

How many agree is drawn per question, ten in most cases and never fewer than seven, so that the right answer is the most
frequent one and scores 1, and a slip scores 0.3 to 0.9, as the public scorers count it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from digrap.data.mini.vqa.questions import Ask
from digrap.data.mini.vqa.words import NUMBER_WORDS
from digrap.data.mini.vqa.world import COLOR_NAMES, OBJECT_NAMES, Scene

TEN = 10
AGREED = ((10, 0.60), (9, 0.20), (8, 0.12), (7, 0.08))
"""How many of ten give the right answer, and in which share of the questions."""

_OPPOSITE = {"yes": "no", "no": "yes", "left": "right", "right": "left", "top": "bottom", "bottom": "top"}


def slips_of(ask: Ask, scene: Scene, answer: str) -> tuple[str, ...]:
    """Return the wrong answers that a person could give: a count one off, a similar color, another object in sight."""
    if answer in _OPPOSITE:
        return (_OPPOSITE[answer],)
    if ask.form.startswith("count"):
        place = NUMBER_WORDS.index(answer)
        return tuple(NUMBER_WORDS[other] for other in (place - 1, place + 1) if 0 <= other < len(NUMBER_WORDS))
    if ask.form == "color":
        place = COLOR_NAMES.index(answer)
        return COLOR_NAMES[place - 1], COLOR_NAMES[(place + 1) % len(COLOR_NAMES)]
    seen = [OBJECT_NAMES[kind] for kind in dict.fromkeys(scene.objects) if kind >= 0]
    return tuple(name for name in seen if name != answer) or (OBJECT_NAMES[OBJECT_NAMES.index(answer) - 1],)


def annotate(
    rights: Sequence[str], slips: Sequence[Sequence[str]], generator: np.random.Generator
) -> list[tuple[str, ...]]:
    """Return ten answers a question, in random order. `slips` are the wrong ones that may occur, one or more each."""
    chance = generator.random((len(rights), 1 + 2 * TEN))
    numbers, shares = zip(*AGREED, strict=True)
    agreed = np.array(numbers)[np.searchsorted(np.cumsum(shares)[:-1], chance[:, 0], side="right")].tolist()
    places = chance[:, 1 : 1 + TEN].argsort(1).tolist()
    picks = chance[:, 1 + TEN :].tolist()
    found = []
    for right, wrong, number, order, pick in zip(rights, slips, agreed, places, picks, strict=True):
        said = [right] * TEN
        for place in order[number:]:
            said[place] = wrong[int(pick[place] * len(wrong))]
        found.append(tuple(said))
    return found
