"""The shipped masks of glyphs and letters, read and checked."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.core.paths import REPO

GLYPHS = REPO / "data" / "mini" / "glyphs.npz"
GLYPHS_SHA256 = "9e343e0712e53bf81bbfbe532ede2cc643cb7de8473fa3ef1517c97a10b85dee"
"""Every picture depends on every pixel of this file: another version of it is refused."""
LETTERS = REPO / "data" / "mini" / "letters.npz"
LETTERS_SHA256 = "bac63e9b4712dd6afce1ab421756041c6005b83f8d140e7fb753cc5ddae55016"


@lru_cache(maxsize=4)
def load_glyphs(path: Path = GLYPHS) -> torch.Tensor:
    """The coverage masks as float32 (285, 1, 64, 64) in [0, 1], in the order of `symbols.CODE_POINTS`.

    Raises DigrapError when the file is missing or is not the one this version of the code was made with.
    """
    return _load(path, GLYPHS_SHA256, "glyph", "data/mini/glyphs.npz")


@lru_cache(maxsize=4)
def load_letters(path: Path = LETTERS) -> torch.Tensor:
    """The masks of A to Z as float32 (26, 1, 64, 64) in [0, 1], each 54 pixels high. Raises as `load_glyphs` does."""
    return _load(path, LETTERS_SHA256, "letter", "data/mini/letters.npz")


def _load(path: Path, digest: str, what: str, shipped: str) -> torch.Tensor:
    fix = f"restore it with `git checkout -- {shipped}`"
    if not path.is_file():
        raise DigrapError(f"{path}: the {what} masks are missing; {fix}")
    if sha256(path) != digest:
        raise DigrapError(f"{path}: the {what} masks are damaged or from another version (sha256 differs); {fix}")
    with np.load(io.BytesIO(path.read_bytes())) as archive:
        masks = archive["masks"]
    return torch.from_numpy(masks).float().div_(255).unsqueeze(1)
