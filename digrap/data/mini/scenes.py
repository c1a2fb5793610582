"""Scenes: up to four coloured symbols on a 2 x 2 grid, drawn in a style, with or without a written word.

Picture i depends on its key, its style, its index and its own scene and word alone. What is random about it does not
depend on the scene: drawn again with one cell emptied, it is the same from the fifth pixel outside of that cell on.

Cells are numbered 0 top left, 1 top right, 2 bottom left, 3 bottom right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from string import ascii_uppercase
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from digrap.core.errors import DigrapError, nearest
from digrap.data.mini.draw import Dice, blur, grid, mix, to_bytes
from digrap.data.mini.glyphs import load_glyphs
from digrap.data.mini.scene_styles import COLORS, STYLES
from digrap.data.mini.scene_words import LONGEST, write
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
SPOILED = 100  # where a style's number stands in the key, so that no defect shares a style's random numbers


class Scenes(NamedTuple):
    """What stands in the cells of N pictures."""

    objects: Tensor
    """int64 (N, 4): index into OBJECTS, -1 where the cell is empty."""
    colors: Tensor
    """int64 (N, 4): index into COLORS, -1 where the cell is empty."""


def draw_scenes(
    scenes: Scenes,
    style: str,
    key: tuple[int, int, int],
    size: int = 48,
    words: Sequence[str] | None = None,
    indices: Sequence[int] | None = None,
) -> Iterator[Tensor]:
    """Draw pictures 0 to N - 1 of `scenes` in chunks of at most 60: uint8 (n, 3, size, size) each.

    `key` is (stream, seed, split). `indices` are the pictures' numbers where these are not 0 to N - 1: a number may
    come twice, with a scene that was changed. `words` has "" or a word of one to five letters A to Z for each picture;
    it is written over the upper half where that is empty, else over the lower half. Raises DigrapError for an unknown
    style, a size that is out of range or no multiple of four, scenes of another form, and words that cannot be written.
    """
    if style not in STYLES:
        raise DigrapError(f"style={style}: there is no such style; {nearest(style, STYLES)}")
    if size % 4 or not SIZES[0] <= size <= SIZES[1]:
        raise DigrapError(f"size={size}: give a multiple of 4 pixels from {SIZES[0]} to {SIZES[1]}")
    check_scenes(scenes)
    words = [""] * len(scenes.objects) if words is None else list(words)
    check_words(scenes, words)
    indices = range(len(words)) if indices is None else indices
    return _draw(scenes, style, (*key, list(STYLES).index(style)), size, words, indices)


def check_scenes(scenes: Scenes) -> None:
    """Raise DigrapError unless both parts are int64 (N, 4), in range, and empty in the same cells."""
    for name, part, count in (("objects", scenes.objects, len(OBJECTS)), ("colors", scenes.colors, len(COLORS))):
        if part.dtype != torch.int64 or part.shape != (len(scenes.objects), 4):
            raise DigrapError(f"scenes.{name}: {part.dtype} {tuple(part.shape)}; give int64 (N, 4), N the same in both")
        if len(part) and not -1 <= part.min() <= part.max() < count:
            raise DigrapError(f"scenes.{name}: from {part.min()} to {part.max()}; give -1 to {count - 1}")
    if not torch.equal(scenes.objects < 0, scenes.colors < 0):
        raise DigrapError("scenes: a cell has an object and no colour, or the reverse; make both -1, or neither")


def check_words(scenes: Scenes, words: Sequence[str]) -> None:
    """Raise DigrapError unless there is a word of 0 to 5 letters A to Z for each scene, and an empty half for it."""
    if len(words) != len(scenes.objects):
        raise DigrapError(f"words: {len(words)} for {len(scenes.objects)} scenes; give one a scene, empty for none")
    for index, word in enumerate(words):
        if len(word) > LONGEST or set(word) - set(ascii_uppercase):
            raise DigrapError(f"words[{index}]={word!r}: give at most {LONGEST} letters, A to Z")
    halves = (scenes.objects >= 0).unflatten(1, (2, 2)).any(2)  # (N, 2): is something in the upper, the lower half?
    for index in halves.all(1).nonzero().flatten().tolist():
        if words[index]:
            raise DigrapError(f"words[{index}]={words[index]!r}: scene {index} has objects in both halves; empty one")


def _draw(
    scenes: Scenes, style: str, key: tuple[int, ...], size: int, words: list[str], indices: Sequence[int]
) -> Iterator[Tensor]:
    masks = load_glyphs()[torch.tensor([CLASSES.index(name) for name in OBJECTS])]
    masks = torch.cat([masks, torch.zeros_like(masks[:1])])  # an empty cell, -1, has the last
    for start in range(0, len(words), CHUNK):
        objects, colors = (part[start : start + CHUNK] for part in scenes)
        rest = CHUNK - len(objects)
        # The last chunk is drawn in full as well, so that the same arithmetic makes its pictures.
        objects, colors = F.pad(objects, (0, 0, 0, rest), value=-1), F.pad(colors, (0, 0, 0, rest), value=-1)
        written = words[start : start + CHUNK] + [""] * rest
        dice = Dice(key, [*indices[start : start + CHUNK], *[0] * rest], size)
        image = STYLES[style](dice, masks[objects.flatten()], colors.flatten())
        if any(written):
            image = write(dice, image, written, lower=(objects[:, :2] >= 0).any(1))
        yield to_bytes(image[: CHUNK - rest])


def spoil(images: Tensor, kind: str, key: tuple[int, int, int]) -> Tensor:
    """Pictures as blind people may take them: uint8 (N, 3, S, S) with a defect of DEFECTS, of random strength.

    What is done to picture i depends on key, kind and i alone. Raises DigrapError for an unknown kind or other shapes.
    """
    if kind not in DEFECTS:
        raise DigrapError(f"kind={kind}: there is no such defect; {nearest(kind, DEFECTS)}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise DigrapError(f"images: {images.dtype} {tuple(images.shape)}; give uint8 (N, 3, S, S)")
    done = []
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        rest = CHUNK - len(part)
        dice = Dice((*key, SPOILED + list(DEFECTS).index(kind)), range(start, start + CHUNK), images.shape[-1])
        spoiled = DEFECTS[kind](dice, F.pad(part, (0, 0) * 3 + (0, rest)).float() / 255)
        done.append(to_bytes(spoiled[: CHUNK - rest]))
    return torch.cat(done) if done else images.clone()


def blurred(dice: Dice, image: Tensor) -> Tensor:
    """Out of focus."""
    soft = blur(image, 4)
    return mix(soft, blur(soft, 6), dice.uniform())


def dark(dice: Dice, image: Tensor) -> Tensor:
    """Too little light, and the noise that comes with it."""
    return image * dice.uniform(0.12, 0.32) + dice.fine * dice.uniform(0.02, 0.06)


def cropped(dice: Dice, image: Tensor) -> Tensor:
    """Too close and beside: a part of six to eight tenths of the side, as large as the picture was."""
    x, y = grid(dice.size)
    part = dice.uniform(0.6, 0.8)
    x, y = (part * line + (1 - part) * dice.uniform(-1, 1) for line in (x, y))
    points = torch.stack(torch.broadcast_tensors(x, y), dim=-1).squeeze(1)
    return F.grid_sample(image, points, padding_mode="border", align_corners=False)


DEFECTS: dict[str, Callable[[Dice, Tensor], Tensor]] = {"blur": blurred, "dark": dark, "crop": cropped}
"""VizWiz's defects. The position is part of a spoiled picture's key."""
