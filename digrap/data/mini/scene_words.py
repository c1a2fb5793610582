"""Write a word on a scene, as dark letters on a light plate or the reverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from digrap.data.mini.draw import Dice, colour, grid, halve, mix
from digrap.data.mini.glyphs import load_letters

LONGEST = 5  # letters of a word
TRIMMED = slice(8, 56)  # the columns of a letter's mask that have ink in some letter


def strips(words: Sequence[str]) -> Tensor:
    """Each word's letters side by side, from the left, as masks (B, 1, 32, 24 · 5); the rest is empty."""
    letters = halve(load_letters()[..., TRIMMED])
    letters = torch.cat([letters, torch.zeros_like(letters[:1])])
    slots = [[ord(letter) - ord("A") for letter in word] + [-1] * (LONGEST - len(word)) for word in words]
    return letters[torch.tensor(slots)].permute(0, 2, 3, 1, 4).flatten(3)


def write(dice: Dice, image: Tensor, words: Sequence[str], lower: Tensor) -> Tensor:
    """Write the B words over the lower half of pictures (B, 3, S, S) where `lower` (B,) is true, else over the upper.

    A picture whose word is "" stays bit for bit what it is.
    """
    size, (x, y) = dice.size, grid(2 * dice.size)
    length = torch.tensor([len(word) for word in words])[:, None, None, None]
    # All lengths in half-sides of the picture.
    pitch = (1.84 / length.clamp(min=1)).clamp(max=0.44) * dice.uniform(0.92, 1.0)
    height = pitch * dice.uniform(0.75, 0.9)  # half the mask's height, of which the letter fills 54 / 64
    x = x - dice.uniform(-1, 1) * (0.94 - pitch * length / 2)
    y = y - torch.where(lower[:, None, None, None], 0.5, -0.5) - dice.uniform(-0.06, 0.06)
    angle = dice.uniform(-0.05, 0.05)
    across = (angle.cos() * x + angle.sin() * y) / pitch  # in letters, from the word's middle
    along = (angle.cos() * y - angle.sin() * x) / height
    points = torch.stack([(across + length / 2) * (2 / LONGEST) - 1, along], dim=-1).squeeze(1)
    letters = halve(F.grid_sample(strips(words), points, padding_mode="zeros", align_corners=False))
    inside = torch.minimum((length / 2 + 0.1 - across.abs()) * pitch, (1.0 - along.abs()) * height)
    plate = halve((inside * size).clamp(0, 1)) * (length > 0)
    dark, light = colour(dice, (0.0, 0.6), (0.0, 0.25)), colour(dice, (0.0, 0.2), (0.85, 1.0))
    night = dice.uniform() < 0.3
    image = mix(image, torch.where(night, dark, light), plate)
    return mix(image, torch.where(night, light, dark), letters)
