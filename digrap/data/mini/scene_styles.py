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

from digrap.data.mini.draw import Dice, blur, colour, grid, halve, hsv, mix, place, shift, stripes


class Shade(NamedTuple):
    """What one colour's name covers: ranges of hue in degrees (negative ones are below 360), saturation and value."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]


COLORS: dict[str, Shade] = {
    "red": Shade((-8, 6), (0.80, 1.0), (0.70, 0.95)),
    "yellow": Shade((47, 56), (0.80, 1.0), (0.85, 1.0)),
    "green": Shade((105, 140), (0.65, 1.0), (0.45, 0.70)),
    "blue": Shade((208, 230), (0.75, 1.0), (0.65, 1.0)),
    "purple": Shade((276, 298), (0.55, 0.95), (0.50, 0.75)),
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
    return (
        tiles.reshape(-1, 2, 2, channels, side, side).permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, *[2 * side] * 2)
    )


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


STYLES: dict[str, Callable[[Dice, Tensor, Tensor], Tensor]] = {
    "plain": plain,
    "real": real,
}
"""Style → its painting function. The position is part of every picture's key, so new styles go to the end."""
