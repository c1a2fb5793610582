"""Scenes: up to four coloured symbols on a 2 x 2 grid, drawn in a style.

Picture i depends on its key, its style, its index and its own scene alone. What is random about it does not
depend on the scene: drawn again with one cell emptied, it is the same outside of that cell (up to 3 pixels around it).

Cells are numbered 0 top left, 1 top right, 2 bottom left, 3 bottom right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from digrap.core.errors import DigrapError, nearest
from digrap.data.mini.draw import Dice, to_bytes
from digrap.data.mini.glyphs import load_glyphs
from digrap.data.mini.scene_styles import COLORS, STYLES
from digrap.data.mini.symbols import CLASSES

VERSION = 1
"""Part of every cache's name: raise it with any change that moves a pixel."""

OBJECTS = (
    "airplane", "anchor", "cat", "cloud", "diamond", "envelope", "flower", "heart",
    "house", "pencil", "scissors", "snowflake", "star", "sun", "telephone", "umbrella",
)  # fmt: skip
"""Symbols that are told apart at 20 pixels."""

CHUNK = 60  # pictures drawn at once, from fixed indices on
SIZES = (32, 96)  # pixels a side, a multiple of 4

_ROWS = torch.tensor([CLASSES.index(name) for name in OBJECTS])


class Scenes(NamedTuple):
    """What stands in the cells of N pictures."""

    objects: Tensor
    """int64 (N, 4): index into OBJECTS, -1 where the cell is empty."""
    colors: Tensor
    """int64 (N, 4): index into COLORS, -1 where the cell is empty."""


def draw_scenes(scenes: Scenes, style: str, key: tuple[int, int, int], size: int = 48) -> Iterator[Tensor]:
    """Draw pictures 0 to N - 1 of `scenes` in chunks of at most 60: uint8 (n, 3, size, size) each.

    `key` is (stream, seed, split). Raises DigrapError for an unknown style and a size that is no multiple of four.
    """
    if style not in STYLES:
        raise DigrapError(f"style={style}: there is no such style; {nearest(style, STYLES)}")
    if size % 4 or not SIZES[0] <= size <= SIZES[1]:
        raise DigrapError(f"size={size}: give a multiple of 4 pixels from {SIZES[0]} to {SIZES[1]}")
    for name, part, count in (("objects", scenes.objects, len(OBJECTS)), ("colors", scenes.colors, len(COLORS))):
        if part.dtype != torch.int64 or part.ndim != 2 or part.shape[1] != 4:
            raise DigrapError(f"scenes.{name}: {part.dtype} {tuple(part.shape)}; give int64 (N, 4)")
        if len(part) and not -1 <= part.min() <= part.max() < count:
            raise DigrapError(f"scenes.{name}: from {part.min()} to {part.max()}; give -1 to {count - 1}")
    if not torch.equal(scenes.objects < 0, scenes.colors < 0):
        raise DigrapError("scenes: a cell has an object without a colour or the reverse; make both -1 or none")
    return _draw(scenes, style, key, size)


def _draw(scenes: Scenes, style: str, key: tuple[int, int, int], size: int) -> Iterator[Tensor]:
    paint, masks = STYLES[style], load_glyphs()[_ROWS]
    masks = torch.cat([masks, torch.zeros_like(masks[:1])])  # -1, an empty cell, is the last
    key = (*key, list(STYLES).index(style))
    for start in range(0, len(scenes.objects), CHUNK):
        objects, colors = (part[start : start + CHUNK] for part in scenes)
        rest = CHUNK - len(objects)
        # The last chunk is drawn in full as well, so that the same arithmetic makes its pictures.
        objects, colors = F.pad(objects, (0, 0, 0, rest), value=-1), F.pad(colors, (0, 0, 0, rest))
        dice = Dice(key, range(start, start + CHUNK), size)
        image = paint(dice, masks[objects.flatten()], colors.flatten())
        yield to_bytes(image[: CHUNK - rest])
