"""Paint the four cells of a scene in a drawing style: DomainNet's six in the manner of `draw`, and a plain one.

Unlike `draw`'s pictures these have colours to be asked for: an object's own colour stays what it is called, grounds and
decoration are pale or grey. Everything random is drawn for every cell, whether or not an object is in it, and no ground
depends on the objects, so that a scene without one of its objects is the same picture elsewhere.

Shapes: B pictures of side S; the cells of picture b are rows 4b to 4b + 3 of (4B, …): top left, top right, bottom left,
bottom right. Objects are drawn in tiles of side S, twice that of a cell, which together are a page of side 2S.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from digrap.data.mini.draw import (
    Dice,
    blur,
    boxes,
    colour,
    decorated,
    grid,
    grow,
    halve,
    hsv,
    mix,
    place,
    shift,
    stripes,
)


class Shade(NamedTuple):
    """What one colour's name covers: ranges of hue in degrees (negative ones are below 360), saturation and value."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]


COLORS: dict[str, Shade] = {
    "red": Shade((-8, 6), (0.80, 1.0), (0.70, 0.95)),
    "yellow": Shade((47, 56), (0.80, 1.0), (0.85, 1.0)),
    "green": Shade((105, 140), (0.70, 1.0), (0.50, 0.72)),
    "blue": Shade((208, 230), (0.75, 1.0), (0.65, 1.0)),
    "purple": Shade((276, 298), (0.65, 0.95), (0.52, 0.80)),
    "black": Shade((0, 360), (0.0, 0.3), (0.02, 0.14)),
}
"""Name of a colour, spelled as VQA's answers are → what is painted for it."""

_RANGES = torch.tensor(list(COLORS.values()))  # (6, 3, 2)


class Cells:
    """A chunk's dice thrown once for each cell: what `place` asks of `Dice`, for 4B pictures of side `size`."""

    def __init__(self, dice: Dice, size: int):
        self.dice = dice
        self.size = size

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """The next number of each cell, uniform in [low, high): (4B, 1, 1, 1)."""
        return self.dice.uniform(low, high, 4).reshape(-1, 1, 1, 1)

    def field(self, first: int, count: int, cells: int, size: int) -> Tensor:
        """Smooth noise that runs through all cells of a picture: (4B, count, size, size)."""
        return split(self.dice.field(first, count, cells, 2 * size))


def split(pages: Tensor) -> Tensor:
    """Cut pages (B, C, 2T, 2T) into tiles (4B, C, T, T)."""
    count, channels, side = pages.shape[:3]
    return pages.reshape(count, channels, 2, side // 2, 2, side // 2).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def join(tiles: Tensor) -> Tensor:
    """Put tiles (4B, C, T, T) together to pages (B, C, 2T, 2T)."""
    channels, side = tiles.shape[1:3]
    return tiles.reshape(-1, 2, 2, channels, side, side).permute(0, 3, 1, 4, 2, 5).flatten(2, 3).flatten(3)


def fill(dice: Dice, colors: Tensor, strength: float = 1.0) -> Tensor:
    """A shade of each cell's colour (4B,), spread over its quarter: (B, 3, S, S). `strength` below 1 darkens it."""
    half = dice.size // 2
    cells = Cells(dice, half)
    low, high = _RANGES[colors, :, :, None, None].unbind(2)  # each (4B, 3, 1, 1)
    hue, saturation, value = (low + (high - low) * torch.cat([cells.uniform() for _ in range(3)], 1)).split(1, 1)
    shade = hsv((hue / 60).remainder(6), saturation, value * strength)
    return join(shade.expand(-1, -1, half, half))


def put(dice: Dice, glyphs: Tensor, scale: tuple[float, float], tilt: float = 0.2, wobble: float = 0.0) -> Tensor:
    """Place each cell's glyph (4B, 1, 64, 64) in its cell, as `draw.place` does: coverage (B, 1, 2S, 2S)."""
    return join(place(Cells(dice, dice.size // 2), glyphs, scale, tilt, wobble))


def plain(dice: Dice, glyphs: Tensor, colors: Tensor) -> Tensor:
    """Flat shapes on white."""
    # Placed at the picture's own size, for speed; that needs the smaller mask, because grid_sample does not average.
    cover = join(place(Cells(dice, dice.size // 4), halve(glyphs), (0.95, 1.05), tilt=0.2))
    return mix(torch.ones(1, 3, 1, 1), fill(dice, colors), cover)


def real(dice: Dice, glyphs: Tensor, colors: Tensor) -> Tensor:
    """A photograph: textured, shaded bodies with drop shadows on an uneven, noisy, pale ground."""
    size = dice.size
    x, y = grid(size)
    cover = halve(put(dice, glyphs, (0.90, 1.08), wobble=0.03))
    height = blur(cover, 2)
    ground = colour(dice, (0.0, 0.2), (0.55, 0.95))
    slope = dice.uniform(-0.12, 0.12) * x + dice.uniform(-0.12, 0.12) * y
    clutter = dice.field(0, 1, 8, size) * dice.uniform(0.02, 0.08) + dice.field(1, 3, 4, size) * 0.02
    ground = ground + slope + clutter + stripes(dice, size, (0.15, 0.9)) * dice.uniform(0.0, 0.08)
    texture = stripes(dice, size, (0.12, 0.5)) * dice.uniform(0.0, 0.12) + dice.field(5, 1, 8, size) * 0.05
    # The light comes from one side: the blurred mask's slope towards it brightens the body, like an embossed relief.
    lit = dice.uniform(-1.0, 1.0) * (height - shift(height, 1, 0))
    lit = lit + dice.uniform(-0.4, 1.0) * (shift(height, 0, 1) - height)
    shadow = shift(height, 1, 1) * dice.uniform(0.15, 0.5)
    image = mix(ground * (1 - shadow), fill(dice, colors) + texture - lit, cover)
    image = mix(image, blur(image, 1), dice.uniform(0.0, 0.6))
    return image + dice.fine * dice.uniform(0.03, 0.10)


def clipart(dice: Dice, glyphs: Tensor, colors: Tensor) -> Tensor:
    """Flat colours: bodies with a dark outline on white or a pastel ground."""
    body = put(dice, glyphs, (0.90, 1.0))
    ground = mix(torch.ones(1, 3, 1, 1), colour(dice, (0.05, 0.25), (0.9, 1.0)), (dice.uniform() < 0.6).float())
    line = colour(dice, (0.0, 0.5), (0.0, 0.25))
    return mix(mix(ground, line, halve(grow(body, 1))), fill(dice, colors), halve(body))


def sketch(dice: Dice, glyphs: Tensor, colors: Tensor) -> Tensor:
    """Coloured pencils: strokes along the edges and hatching inside, on paper with grain."""
    size = dice.size
    body = put(dice, glyphs, (0.92, 1.08), wobble=0.03)
    edge = halve((grow(body, 1) - grow(body, -1)).clamp(0, 1))
    hatch = halve(body) * (stripes(dice, size, (0.10, 0.18)) * 2).clamp(0, 1)
    pressure = (0.9 + 0.15 * dice.field(0, 1, 8, size)).clamp(0.5, 1)
    ink = (edge * dice.uniform(0.7, 1.0) + hatch * dice.uniform(0.3, 0.7)).clamp(0, 1) * pressure
    paper = dice.uniform(0.85, 1.0) + dice.fine.mean(1, keepdim=True) * 0.06
    return mix(paper, fill(dice, colors, 0.9), ink)


def painting(dice: Dice, glyphs: Tensor, colors: Tensor) -> Tensor:
    """Brushwork: uneven paint on an uneven, pale ground, edges bent and blurred, then few tones a channel."""
    size = dice.size
    cover = halve(blur(put(dice, glyphs, (0.95, 1.08), wobble=0.05), 1))
    ground = colour(dice, (0.0, 0.2), (0.65, 0.95))
    strokes = stripes(dice, size, (0.2, 0.5)) * dice.uniform(0.02, 0.06)
    ground = ground + dice.field(0, 3, 5, size) * 0.04 + strokes
    body = fill(dice, colors) + dice.field(3, 1, 6, size) * 0.06 - strokes
    tones = dice.uniform(6, 10).round()
    return (mix(ground, body, cover).clamp(0, 1) * tones).round() / tones


def infograph(dice: Dice, glyphs: Tensor, colors: Tensor) -> Tensor:
    """A page of a report: small, flat symbols on plates among panels, frames, rules and rows of text."""
    # Shrinking this far needs the smaller mask: grid_sample does not average.
    cover = halve(put(dice, halve(glyphs), (0.78, 0.92), tilt=0.15))
    page = mix(torch.ones(1, 3, 1, 1), colour(dice, (0.02, 0.15), (0.9, 1.0)), dice.uniform())
    accent, ink = colour(dice, (0.1, 0.4), (0.5, 0.9)), colour(dice, (0.0, 0.4), (0.1, 0.5))
    image = decorated(dice, page, accent, ink, (0.3, 0.7))
    bar, _ = boxes(dice, dice.size, 0.03, 0.5)
    image = mix(image, accent, bar)
    # A plate of the page's colour keeps each symbol legible.
    plate = grow(cover, 2) * dice.uniform(0.7, 1.0)
    return mix(mix(image, page, plate), fill(dice, colors), cover)


def quickdraw(dice: Dice, glyphs: Tensor, colors: Tensor) -> Tensor:
    """Doodles with coloured pens: only thin, wobbly outlines on white."""
    body = put(dice, glyphs, (0.95, 1.1), wobble=0.06)
    line = halve((grow(body, 1) - body).clamp(0, 1))
    return mix(torch.ones(1, 3, 1, 1), fill(dice, colors), (line * dice.uniform(0.85, 1.0) * 1.4).clamp(0, 1))


STYLES: dict[str, Callable[[Dice, Tensor, Tensor], Tensor]] = {
    "plain": plain,
    "real": real,
    "clipart": clipart,
    "sketch": sketch,
    "painting": painting,
    "infograph": infograph,
    "quickdraw": quickdraw,
}
"""Style → its painting function. The position is part of every picture's key, so new styles go to the end."""
