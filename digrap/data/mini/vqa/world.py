"""The world that minivqa's questions are about: scenes whose objects have habits, and answers with a prior.

A scene has four cells (0 top left, 1 top right, 2 bottom left, 3 bottom right), each empty (-1) or with one object in
one color. The habits are what a model may learn in place of seeing, as it may from photographs:

- an object has a favorite color, which it has in about every second case, however many others it could have;
- some objects come in groups, others alone;
- an object brings its companion along;
- an object has a cell that it prefers.

Nothing else about objects, colors and cells is correlated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from digrap.data.mini.scenes import COLORS, OBJECTS, Scenes
from digrap.data.mini.vqa.words import name_of

CELLS = 4
COLOR_NAMES = tuple(COLORS)
OBJECT_NAMES = tuple(map(name_of, OBJECTS))
"""As questions and answers call them, in the order of scenes' indices."""

COUNTS = (0.15, 0.25, 0.30, 0.30)  # share of scenes with one to four objects
FAVORITE = 0.4  # an object has its favorite color so often, else any of the six
IN_GROUPS, ALONE = 0.55, 0.15  # a further object of the scene is of the first one's kind
COMPANION = 0.5  # if it is not, it is the companion of the first, else any
PREFERRED = 0.4  # the first object stands in the cell that it prefers, else in any


class Scene(NamedTuple):
    """One scene: for each of the four cells the object's place in OBJECTS (-1: empty), and its color's in COLORS."""

    objects: tuple[int, ...]
    colors: tuple[int, ...]

    def without(self, cell: int) -> Scene:
        """Return the scene with one cell emptied."""
        return Scene(_but(self.objects, cell), _but(self.colors, cell))

    def cells(self, kind: int | None = None, color: int | None = None) -> list[int]:
        """Return the occupied cells whose object is of this kind and color; None: of any."""
        return [
            cell
            for cell in range(CELLS)
            if self.objects[cell] >= 0 and kind in (None, self.objects[cell]) and color in (None, self.colors[cell])
        ]


def as_tensors(scenes: Sequence[Scene]) -> Scenes:
    """Return the scenes as `draw_scenes` takes them."""
    return Scenes(*(torch.tensor([scene[part] for scene in scenes]) for part in range(2)))


def _but(values: tuple[int, ...], cell: int) -> tuple[int, ...]:
    return (*values[:cell], -1, *values[cell + 1 :])


def favorite(kinds: np.ndarray) -> np.ndarray:
    """Return the favorite color of each kind."""
    return kinds * 5 % len(COLOR_NAMES)


def companion(kinds: np.ndarray) -> np.ndarray:
    """Return the kind that each kind brings along."""
    return (kinds * 7 + 3) % len(OBJECT_NAMES)


def sample_scenes(generator: np.random.Generator, count: int, habits: bool = True) -> list[Scene]:
    """Draw scenes. Without habits every kind, color and cell is as likely as any other."""
    chance = generator.random((count, 6, CELLS))
    number = 1 + np.searchsorted(np.cumsum(COUNTS)[:-1], chance[:, 0, 0], side="right")
    kinds = (chance[:, 1] * len(OBJECT_NAMES)).astype(int)
    colors = (chance[:, 2] * len(COLOR_NAMES)).astype(int)
    order = chance[:, 3].argsort(1, kind="stable")  # the cells in which the objects stand
    if habits:
        first = kinds[:, :1]
        again = np.where(first % 2 == 0, IN_GROUPS, ALONE)
        draw = chance[:, 4]
        others = np.where(draw < again + (1 - again) * COMPANION, companion(first), kinds)
        kinds[:, 1:] = np.where(draw < again, first, others)[:, 1:]
        colors = np.where(chance[:, 5] < FAVORITE, favorite(kinds), colors)
        rows = np.flatnonzero(draw[:, 0] < PREFERRED)
        wanted = kinds[rows, 0] // 2 % CELLS
        place = (order[rows] == wanted[:, None]).argmax(1)
        order[rows, place], order[rows, 0] = order[rows, 0], wanted
    there = np.arange(CELLS) < number[:, None]
    found = []
    for values in (kinds, colors):
        cells = np.empty((count, CELLS), dtype=int)
        np.put_along_axis(cells, order, np.where(there, values, -1), 1)
        found.append(cells.tolist())
    return [Scene(tuple(kinds), tuple(colors)) for kinds, colors in zip(*found, strict=True)]


def prior(form: str, reverse: bool = False) -> Mapping[str, float]:
    """Return the share of each answer to questions of a form, most frequent first.

    `reverse`: the least frequent answer has the share of the most frequent one, and so on.
    """
    names, shares = PRIORS[form]
    total = math.fsum(shares)
    return dict(zip(names, (share / total for share in (reversed(shares) if reverse else shares)), strict=True))


def _falling(names: tuple[str, ...], ratio: float) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return names, tuple(ratio**rank for rank in range(len(names)))


_COUNTED = (("1", "2", "0", "3", "4"), (38, 32, 14, 11, 5))
_NAMED = _falling(OBJECT_NAMES, 0.85)
_YES = (("yes", "no"), (66, 34))
PRIORS = {
    "count kind": _COUNTED,
    "count color": _COUNTED,
    "count all": (("2", "3", "1", "4"), (38, 32, 18, 12)),
    "color": _falling(COLOR_NAMES, 0.75),
    "there kind": _YES,
    "there color": _YES,
    "there both": _YES,
    "side": (("left", "right"), (66, 34)),
    "height": (("top", "bottom"), (66, 34)),
    "at": _NAMED,
    "of color": _NAMED,
    "only": _NAMED,
}
SHARES = {
    "count kind": 17, "count color": 9, "count all": 5, "color": 20, "there kind": 10, "there color": 5,
    "there both": 5, "side": 7, "height": 7, "at": 7, "of color": 5, "only": 3,
}  # fmt: skip
"""Of 100 questions, how many are of each form (see questions.py)."""
