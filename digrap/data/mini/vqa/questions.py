"""Questions about scenes, their answers and wordings; captions.

A question has a form and the kind, color or cell that it asks about. Wording 0 is that of training, 1 to 3 are the
rephrasings of the test. PRETRAINING has further wordings, which contain every word of 1 to 3: a foundation model knows
the words, and not these sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from digrap.data.mini.vqa.world import COLOR_NAMES, OBJECT_NAMES, Scene

PLACES = ("top left", "top right", "bottom left", "bottom right")
_COUNT = (
    "how many {} symbols are there ?",
    "count the {} symbols in the picture",
    "what number of {} symbols do you see ?",
    "the image has how many {} symbols ?",
)
_THERE = (
    "is there {} ?",
    "do you see {} ?",
    "does the image have {} ?",
    "can {} be seen here ?",
)
WORDINGS: dict[str, tuple[str, str, str, str]] = {
    "count kind": _COUNT,
    "count color": _COUNT,
    "count all": _COUNT,
    "color": (
        "what color is the {} ?",
        "which color does the {} have ?",
        "the {} has what color ?",
        "name the color of the {}",
    ),
    "there kind": _THERE,
    "there color": _THERE,
    "there both": _THERE,
    "side": (
        "is the {} at the left or at the right ?",
        "on which side is the {} , left or right ?",
        "where is the {} , left or right ?",
        "name the side of the {} , left or right",
    ),
    "height": (
        "is the {} at the top or at the bottom ?",
        "on which side is the {} , top or bottom ?",
        "where is the {} , top or bottom ?",
        "name the side of the {} , top or bottom",
    ),
    "at": (
        "what is at the {} ?",
        "which symbol do you see at the {} ?",
        "the {} of the image shows what ?",
        "name the symbol at the {}",
    ),
    "of color": (
        "what is the {} symbol ?",
        "which symbol is {} ?",
        "the image shows which {} symbol ?",
        "name the symbol that is {}",
    ),
    "only": (
        "what is in the image ?",
        "which symbol do you see ?",
        "the image shows what ?",
        "name the symbol in the picture",
    ),
}
"""Form → the four wordings."""

PRETRAINING: dict[str, tuple[str, ...]] = {
    "count": ("what is the number of {} symbols here ?", "count each {} symbol that you see in the picture"),
    "color": ("what is the color of the {} in the picture ?", "name which color the {} does have"),
    "there": ("does the picture have {} ?", "in the image , can you see {} ?", "has it {} to be seen here ?"),
    "side": ("on the left side or on the right side , where is the {} ?", "at which side do you see the {} ?"),
    "height": ("on the top side or on the bottom side , where is the {} ?", "at top or bottom , do you see the {} ?"),
    "at": ("the symbol at the {} is what ?", "at the {} , which symbol has the picture ?"),
    "of color": ("which {} symbol do you see ?", "name what is {} in the image"),
    "only": ("what do you see here ?", "which symbol shows the picture ?"),
}
"""Form, or its first word → wordings of pre-training."""

TYPES = {
    "count": ("how many", "number"), "color": ("what color is the", "other"), "there": ("is there a", "yes/no"),
    "side": ("is the", "other"), "height": ("is the", "other"), "at": ("what is", "other"),
    "of": ("what is", "other"), "only": ("what is", "other"),
}  # fmt: skip
"""First word of a form → question type and answer type, as VQAv2 has them."""


class Ask(NamedTuple):
    """A question: its form, and the kind, color and cell it asks about, None where it asks about none."""

    form: str
    kind: int | None = None
    color: int | None = None
    cell: int | None = None

    @property
    def question_type(self) -> str:
        return TYPES[self.form.split()[0]][0]

    @property
    def answer_type(self) -> str:
        return TYPES[self.form.split()[0]][1]


def _thing(ask: Ask) -> str:
    """Return what the question asks about, in words."""
    if ask.cell is not None:
        return PLACES[ask.cell]
    words = [COLOR_NAMES[ask.color]] if ask.color is not None else []
    words += [OBJECT_NAMES[ask.kind]] if ask.kind is not None else []
    if ask.form.startswith("there"):
        words += ["symbol"] if ask.kind is None else []
        return with_article(" ".join(words))
    return " ".join(words)


def with_article(words: str) -> str:
    """Return "a star" of "star", "an anchor" of "anchor"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def text_of(ask: Ask, wording: int = 0) -> str:
    """Return the question in words, in one of the four wordings."""
    return _filled(WORDINGS[ask.form][wording], ask)


def pretraining_texts(ask: Ask) -> list[str]:
    """Return the question in the wordings that pre-training may see: that of training, and those of PRETRAINING."""
    head = "of color" if ask.form == "of color" else ask.form.split()[0]
    return [text_of(ask), *(_filled(wording, ask) for wording in PRETRAINING[head])]


def _filled(wording: str, ask: Ask) -> str:
    return " ".join(wording.format(_thing(ask)).split())


def answer_of(ask: Ask, scene: Scene) -> str | None:
    """Return the right answer; None where the picture does not give one: "the star" where there are two, or none."""
    cells = scene.cells(ask.kind, ask.color) if ask.cell is None else [ask.cell] * (scene.objects[ask.cell] >= 0)
    if ask.form.startswith("count"):
        return str(len(cells))
    if ask.form.startswith("there"):
        return "yes" if cells else "no"
    if len(cells) != 1:
        return None
    cell = cells[0]
    if ask.form == "color":
        return COLOR_NAMES[scene.colors[cell]]
    if ask.form == "side":
        return ("left", "right")[cell % 2]
    if ask.form == "height":
        return ("top", "bottom")[cell // 2]
    return OBJECT_NAMES[scene.objects[cell]]


def caption_of(scene: Scene) -> str:
    """Return the contents of the four cells in order: "red star , none , blue sun , none"."""
    cells = zip(scene.objects, scene.colors, strict=True)
    return " , ".join("none" if kind < 0 else f"{COLOR_NAMES[color]} {OBJECT_NAMES[kind]}" for kind, color in cells)


def candidates(scene: Scene, chance: list[float]) -> Iterator[tuple[Ask, str]]:
    """Yield one question of each form that the scene can answer, with its answer; `chance` are CANDIDATE_CHANCES
    uniform numbers."""
    cells = scene.cells()
    there = [(scene.objects[cell], scene.colors[cell]) for cell in cells]
    kinds, colors = _seen_and_other(there, 0, len(OBJECT_NAMES)), _seen_and_other(there, 1, len(COLOR_NAMES))
    numbers = iter(chance)

    def one(values):
        return values[int(next(numbers) * len(values))]

    def some(values):
        """One of those in the picture, or as often one that is not."""
        return one(values[int(next(numbers) < 0.5)])

    asks = [
        Ask("count kind", kind=some(kinds)),
        Ask("count color", color=some(colors)),
        Ask("count all"),
        Ask("color", kind=one(kinds[0])),
        Ask("there kind", kind=some(kinds)),
        Ask("there color", color=some(colors)),
        Ask("there both", kind=one(kinds[0]), color=some(colors)),
        Ask("side", kind=one(kinds[0])),
        Ask("height", kind=one(kinds[0])),
        Ask("at", cell=one(cells)),
        Ask("of color", color=one(colors[0])),
        Ask("only"),
    ]
    for ask in asks:
        if (answer := answer_of(ask, scene)) is not None:
            yield ask, answer


CANDIDATE_CHANCES = 16


def _seen_and_other(there: list[tuple[int, int]], which: int, count: int) -> tuple[list[int], list[int]]:
    seen = sorted({pair[which] for pair in there})
    return seen, [value for value in range(count) if value not in seen]


def relevant(ask: Ask, scene: Scene, cell: int) -> bool:
    """Return whether the question speaks of the object in this cell, or of what it shares with it."""
    if ask.cell is not None:
        return cell == ask.cell
    if ask.kind is None and ask.color is None:
        return True
    return ask.kind == scene.objects[cell] or ask.color == scene.colors[cell]


def random_questions(scenes: list[Scene], generator: np.random.Generator, each: int = 1) -> list[list[tuple[Ask, str]]]:
    """Return for each scene up to `each` questions of different forms with their answers, without any prior."""
    chances = generator.random((len(scenes), CANDIDATE_CHANCES)).tolist()
    order = generator.random((len(scenes), len(WORDINGS))).tolist()
    found = []
    for scene, chance, ranks in zip(scenes, chances, order, strict=True):
        possible = list(candidates(scene, chance))
        ranked = sorted(zip(ranks, range(len(possible)), strict=False))
        found.append([possible[place] for _, place in ranked[:each]])
    return found
