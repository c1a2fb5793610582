"""Pictures that were drawn before, kept as PNG files beside the tests."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def assert_as_drawn_before(sheet: torch.Tensor, path: Path) -> None:
    """Arithmetic may round differently between processors; no picture, uint8 (H, W, 3), may change by more.

    To rewrite the file after an intended change: Image.fromarray(sheet.numpy()).save(path).
    """
    expected = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy())
    distance = (sheet.int() - expected.int()).abs()
    assert (distance > 2).float().mean() < 0.005


def row(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 (N, 3, S, S) side by side: (S, N · S, 3)."""
    return pictures.permute(2, 0, 3, 1).flatten(1, 2)
