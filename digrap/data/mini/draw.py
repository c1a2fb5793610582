"""Draw glyph masks as pictures of DomainNet's six domains: real, clipart, sketch, painting, infograph, quickdraw.

Every picture has its own random stream, keyed by (stream, seed, split, domain, index): no picture is in two splits, and
picture i is the same however many are drawn. The drawing itself is batched, in chunks of a fixed size that start at
fixed indices, so that vectorised arithmetic gives picture i the same bits every time.

Shapes: B pictures, S their side in pixels. Shapes are drawn at 2S and halved (anti-aliasing). Coverage is (B, 1, S, S)
in [0, 1], colours (B, 3, 1, 1) and pictures (B, 3, S, S) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

VERSION = 2
"""Part of every cache's name: raise it with any change that moves a pixel."""

CHUNK = 90
UNIFORMS = 160  # random numbers a picture may use; unused ones cost nothing


class Dice:
    """The random numbers of a chunk of pictures, read in order.

    `coarse` is normal (B, 6, 8, 8), for fields that vary slowly; `fine` is uniform [-1, 1) (B, 3, S, S), grain.
    """

    def __init__(self, key: tuple[int, ...], indices: Iterable[int], size: int):
        uniforms, coarse, fine = [], [], []
        for index in indices:
            rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([*key, index])))
            uniforms.append(rng.random(UNIFORMS, dtype=np.float32))
            coarse.append(rng.standard_normal((6, 8, 8), dtype=np.float32))
            fine.append(rng.integers(0, 256, (3, size, size), dtype=np.uint8))
        self.uniforms = torch.from_numpy(np.stack(uniforms))
        self.coarse = torch.from_numpy(np.stack(coarse))
        self.fine = torch.from_numpy(np.stack(fine)).float().div_(127.5).sub_(1)
        self.size = size
        self.used = 0

    def uniform(self, low: float = 0.0, high: float = 1.0, count: int = 1) -> Tensor:
        """The next `count` numbers of each picture, uniform in [low, high): (B, count, 1, 1)."""
        if self.used + count > UNIFORMS:
            raise ValueError(f"a domain uses more than {UNIFORMS} random numbers a picture; raise UNIFORMS")
        column = self.uniforms[:, self.used : self.used + count]
        self.used += count
        return (low + (high - low) * column)[:, :, None, None]

    def field(self, first: int, count: int, cells: int, size: int) -> Tensor:
        """Smooth noise of about unit variance from `cells` ≤ 8 coarse cells a side: (B, count, size, size)."""
        cells = self.coarse[:, first : first + count, :cells, :cells]
        return F.interpolate(cells, size=(size, size), mode="bicubic", align_corners=True)


def grid(size: int) -> tuple[Tensor, Tensor]:
    """The x (1, 1, 1, size) and y (1, 1, size, 1) of pixel centres, from -1 (left, top) to 1."""
    line = (torch.arange(size, dtype=torch.float32) + 0.5) / size * 2 - 1
    return line[None, None, None, :], line[None, None, :, None]


def mix(below: Tensor, above: Tensor, coverage: Tensor) -> Tensor:
    """Paint `above` over `below` where `coverage` is 1."""
    return below + (above - below) * coverage


def hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB (B, 3, 1, 1) of a hue in [0, 6) (0 red, 2 green, 4 blue), a saturation and a value (B, 1, 1, 1)."""
    offsets = torch.tensor([0.0, 4.0, 2.0])[None, :, None, None]
    pure = ((hue + offsets).remainder(6) - 3).abs().sub(1).clamp(0, 1)
    return value * (1 - saturation * (1 - pure))


def colour(dice: Dice, saturation: tuple[float, float], value: tuple[float, float]) -> Tensor:
    """A random hue with saturation and value drawn from ranges: (B, 3, 1, 1)."""
    return hsv(dice.uniform(0, 6), dice.uniform(*saturation), dice.uniform(*value))


def contrasting(dice: Dice, ground: Tensor, contrast: tuple[float, float], saturation: float = 0.5) -> Tensor:
    """A random colour whose lightness differs from `ground` (B, 3, 1, 1) by an amount drawn from `contrast`."""
    light = ground.mean(1, keepdim=True)
    step = dice.uniform(*contrast)
    # Upwards or downwards by chance where both fit, else to the side with more room.
    up = torch.where((light - step > 0.05) & (light + step < 0.95), dice.uniform() < 0.5, light < 0.5)
    target = (light + torch.where(up, step, -step)).clamp(0.02, 0.98)
    tint = colour(dice, (0.0, saturation), (1.0, 1.0))
    tint = tint - tint.mean(1, keepdim=True)
    return (target + tint * 0.5).clamp(0, 1)


def blur(image: Tensor, times: int) -> Tensor:
    """`times` passes of the (1, 2, 1)/4 filter in both directions, edges repeated."""
    for _ in range(times):
        padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
        image = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
        image = (image[..., :-2, :] + 2 * image[..., 1:-1, :] + image[..., 2:, :]) / 4
    return image


def to_bytes(image: Tensor) -> Tensor:
    """A picture in [0, 1], values beyond cut off, as uint8 0 to 255 in memory of its own."""
    return image.clamp(0, 1).mul(255).round().to(torch.uint8)


def halve(image: Tensor) -> Tensor:
    """Average 2 x 2 pixels: from drawing size 2S to picture size S."""
    return F.avg_pool2d(image, 2)


def grow(mask: Tensor, radius: int) -> Tensor:
    """Dilate a mask by `radius` pixels; a negative radius erodes it."""
    if radius < 0:
        return -grow(-mask, -radius)
    return F.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)


def shift(mask: Tensor, right: int, down: int) -> Tensor:
    """Move a mask by whole pixels; what enters at the edges is empty."""
    return F.pad(mask, (right, -right, down, -down))


def place(dice: Dice, glyphs: Tensor, scale: tuple[float, float], tilt: float = 0.35, wobble: float = 0.0) -> Tensor:
    """Put each glyph somewhere, with random size, rotation, shear and aspect: coverage (B, 1, 2S, 2S).

    `scale` is the mask's side over the picture's, `tilt` the largest rotation in radians; `wobble` bends the glyph by
    smooth displacements of that many half-sides.
    """
    x, y = grid(2 * dice.size)
    size = dice.uniform(*scale)
    room = (0.95 - 0.84 * size).clamp(min=0.04)
    x = x - room * dice.uniform(-1, 1)
    y = y - room * dice.uniform(-1, 1)
    if wobble:
        bend = dice.field(4, 2, 5, 2 * dice.size) * wobble
        x, y = x + bend[:, :1], y + bend[:, 1:]
    angle, shear, aspect = dice.uniform(-tilt, tilt), dice.uniform(-0.25, 0.25), dice.uniform(-0.12, 0.12).exp()
    across = (angle.cos() * x + angle.sin() * y) / size * aspect
    along = (angle.cos() * y - angle.sin() * x) / size / aspect
    points = torch.stack([across + shear * along, along.expand_as(across)], dim=-1).squeeze(1)
    return F.grid_sample(glyphs, points, padding_mode="zeros", align_corners=False)


def stripes(dice: Dice, size: int, period: tuple[float, float]) -> Tensor:
    """Soft parallel stripes at a random angle, -1 to 1: (B, 1, size, size). `period` in half-sides."""
    x, y = grid(size)
    angle = dice.uniform(0, pi)
    return torch.sin((angle.cos() * x + angle.sin() * y) * (2 * pi / dice.uniform(*period)) + dice.uniform(0, 2 * pi))


def real(dice: Dice, glyphs: Tensor) -> Tensor:
    """A photograph: a textured, shaded body with a drop shadow on an uneven, noisy ground."""
    size = dice.size
    x, y = grid(size)
    body = place(dice, glyphs, (0.55, 0.95), wobble=0.03)
    cover, height = halve(body), halve(blur(body, 6))
    ground = colour(dice, (0.0, 0.6), (0.15, 0.9))
    fill = contrasting(dice, ground, (0.22, 0.6))
    slope = dice.uniform(-0.18, 0.18) * x + dice.uniform(-0.18, 0.18) * y
    clutter = dice.field(0, 1, 8, size) * dice.uniform(0.02, 0.10) + dice.field(1, 3, 4, size) * 0.04
    ground = ground + slope + clutter + stripes(dice, size, (0.15, 0.9)) * dice.uniform(0.0, 0.10)
    texture = stripes(dice, size, (0.12, 0.5)) * dice.uniform(0.0, 0.16) + dice.field(5, 1, 8, size) * 0.07
    # The light comes from one side: the blurred mask's slope towards it brightens the body, like an embossed relief.
    lit = dice.uniform(-1.5, 1.5) * (height - shift(height, 1, 0))
    lit = lit + dice.uniform(-0.5, 1.5) * (shift(height, 0, 1) - height)
    shadow = shift(height, 2, 2) * dice.uniform(0.15, 0.6)
    image = mix(ground * (1 - shadow), fill + texture - lit, cover)
    image = mix(image, blur(image, 1), dice.uniform())
    return image + dice.fine * dice.uniform(0.03, 0.13)


def clipart(dice: Dice, glyphs: Tensor) -> Tensor:
    """Flat colours: a saturated body with a dark outline on white or a pastel ground."""
    body = place(dice, glyphs, (0.55, 1.0))
    ground = mix(torch.ones(1, 3, 1, 1), colour(dice, (0.1, 0.45), (0.85, 1.0)), (dice.uniform() < 0.6).float())
    fill = colour(dice, (0.6, 1.0), (0.55, 1.0))
    line = colour(dice, (0.0, 0.6), (0.0, 0.3))
    outline = halve(grow(body, 2))
    return mix(mix(ground, line, outline), fill, halve(body))


def sketch(dice: Dice, glyphs: Tensor) -> Tensor:
    """Pencil: grey strokes along the edges and hatching inside, on paper with grain."""
    size = dice.size
    body = place(dice, glyphs, (0.55, 1.0), wobble=0.03)
    edge = halve((grow(body, 1) - grow(body, -1)).clamp(0, 1))
    hatch = halve(body * (stripes(dice, 2 * size, (0.16, 0.3)) * 2).clamp(0, 1))
    pressure = (0.85 + 0.2 * dice.field(0, 1, 6, size)).clamp(0.3, 1)
    ink = (edge * dice.uniform(0.6, 1.0) + hatch * dice.uniform(0.3, 0.7)).clamp(0, 1) * pressure
    paper = dice.uniform(0.82, 1.0) + dice.fine.mean(1, keepdim=True) * 0.06
    return mix(paper, dice.uniform(0.05, 0.4), ink).expand(-1, 3, -1, -1)


def painting(dice: Dice, glyphs: Tensor) -> Tensor:
    """Brushwork: uneven paint on an uneven ground, edges bent and blurred, then few tones a channel."""
    size = dice.size
    body = place(dice, glyphs, (0.6, 0.95), wobble=0.06)
    cover = blur(halve(body), 1)
    ground = colour(dice, (0.1, 0.7), (0.25, 0.9))
    fill = contrasting(dice, ground, (0.2, 0.55), saturation=0.9)
    strokes = stripes(dice, size, (0.2, 0.5)) * dice.uniform(0.02, 0.08)
    ground = ground + dice.field(0, 3, 5, size) * 0.09 + strokes
    fill = fill + dice.field(3, 1, 6, size) * 0.10 - strokes
    image = blur(mix(ground, fill, cover), 1)
    tones = dice.uniform(3, 6).round()
    return (image.clamp(0, 1) * tones).round() / tones


def boxes(dice: Dice, size: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    """One axis-parallel box with sides in [low, high] half-sides: its coverage (B, 1, size, size) and its frame."""
    x, y = grid(size)
    across = (x - dice.uniform(-1, 1)).abs() - dice.uniform(low, high)
    along = (y - dice.uniform(-1, 1)).abs() - dice.uniform(low, high)
    inside = -torch.maximum(across, along) * size / 2
    return inside.clamp(0, 1), (1 - inside.abs()).clamp(0, 1)


def text(dice: Dice, size: int) -> Tensor:
    """A paragraph: one to four rows of short dashes, coverage (B, 1, size, size)."""
    x, y = grid(size)
    left, width = dice.uniform(-1.1, 0.5), dice.uniform(0.5, 1.0)
    top, pitch = dice.uniform(-1.0, 0.7), dice.uniform(0.19, 0.26)
    row = (y - top) / pitch
    letters = torch.sin(x * dice.uniform(20, 45) + row.floor() * 2.4 * dice.uniform(1, 3)) > dice.uniform(-0.6, 0.3)
    inside = (x > left) & (x < left + width) & (row > 0) & (row < dice.uniform(1, 4)) & (row.remainder(1) < 0.5)
    return (inside & letters).float()


def decorated(dice: Dice, page: Tensor, accent: Tensor, ink: Tensor, strength: tuple[float, float]) -> Tensor:
    """A page of a report before anything stands on it: panels in the accent, frames and rows of text in ink, whose
    `strength` is drawn from that range."""
    image = page
    for _ in range(2):
        panel, frame = boxes(dice, dice.size, 0.15, 0.6)
        image = mix(image, mix(page, accent, dice.uniform(0.15, 0.6)), panel * (dice.uniform() < 0.6))
        image = mix(image, ink, frame * (dice.uniform() < 0.5) * 0.7)
    for _ in range(2):
        image = mix(image, ink, text(dice, dice.size) * dice.uniform(*strength))
    return image


def infograph(dice: Dice, glyphs: Tensor) -> Tensor:
    """A page of a report: the glyph, small and flat, among panels, frames, rules and rows of text."""
    # Shrinking this far needs the smaller mask: grid_sample does not average.
    cover = halve(place(dice, halve(glyphs), (0.40, 0.62), tilt=0.2))
    page = mix(torch.ones(1, 3, 1, 1), colour(dice, (0.05, 0.3), (0.85, 1.0)), dice.uniform())
    accent, ink = colour(dice, (0.4, 1.0), (0.4, 0.9)), colour(dice, (0.0, 0.5), (0.0, 0.4))
    image = decorated(dice, page, accent, ink, (0.5, 0.9))
    bar, _ = boxes(dice, dice.size, 0.03, 0.5)
    image = mix(image, colour(dice, (0.4, 1.0), (0.4, 0.9)), bar)
    # A plate of the page's colour keeps the glyph legible.
    plate = grow(cover, 2) * dice.uniform(0.3, 1.0)
    return mix(mix(image, page, plate), mix(ink, accent, dice.uniform()) * 0.8, cover)


def quickdraw(dice: Dice, glyphs: Tensor) -> Tensor:
    """A doodle: only a thin, wobbly, dark outline on white."""
    body = place(dice, glyphs, (0.65, 1.05), wobble=0.06)
    line = halve((grow(body, 1) - body).clamp(0, 1))
    return (1 - line * dice.uniform(0.75, 1.0) * 1.2).clamp(0, 1).expand(-1, 3, -1, -1)


DOMAINS: dict[str, Callable[[Dice, Tensor], Tensor]] = {
    "real": real,
    "clipart": clipart,
    "sketch": sketch,
    "painting": painting,
    "infograph": infograph,
    "quickdraw": quickdraw,
}
"""Domain → its drawing function. The position is part of every picture's key, so new domains go to the end."""


def draw(glyphs: Tensor, labels: Tensor, domain: str, key: tuple[int, int, int], size: int) -> Iterator[Tensor]:
    """Draw picture i of glyph labels[i], in chunks of at most 90: uint8 (n, 3, size, size) each.

    `glyphs` are masks (G, 1, 64, 64), `labels` int64 (N,), `key` is (stream, seed, split). Raises KeyError for an
    unknown domain.
    """
    paint = DOMAINS[domain]
    key = (*key, list(DOMAINS).index(domain))
    for start in range(0, len(labels), CHUNK):
        wanted = labels[start : start + CHUNK]
        # The last chunk is drawn in full as well, so that the same arithmetic makes its pictures.
        filled = F.pad(wanted, (0, CHUNK - len(wanted)))
        image = paint(Dice(key, range(start, start + CHUNK), size), glyphs[filled])
        yield to_bytes(image[: len(wanted)])
