"""The shipped glyph masks, read and checked."""

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


@lru_cache(maxsize=4)
def load_glyphs(path: Path = GLYPHS) -> torch.Tensor:
    """The coverage masks as float32 (285, 1, 64, 64) in [0, 1], in the order of `symbols.CODE_POINTS`.

    Raises DigrapError when the file is missing or is not the one this version of the code was made with.
    """
    fix = "restore it with `git checkout -- data/mini/glyphs.npz`"
    if not path.is_file():
        raise DigrapError(f"{path}: the glyph masks are missing; {fix}")
    if sha256(path) != GLYPHS_SHA256:
        raise DigrapError(f"{path}: the glyph masks are damaged or of another version (sha256 differs); {fix}")
    with np.load(io.BytesIO(path.read_bytes())) as archive:
        masks = archive["masks"]
    return torch.from_numpy(masks).float().div_(255).unsqueeze(1)
