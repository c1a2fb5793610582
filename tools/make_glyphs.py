"""Render the 285 glyph masks of the miniature DomainNet from matplotlib's own DejaVu Sans.

    python tools/make_glyphs.py [out=data/mini/glyphs.npz]

The masks are shipped; this documents where they come from. Another version of the font library may move a pixel; the
loader then refuses the file, because its sha256 is fixed in digrap/data/mini/glyphs.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.mini.font import FONTS, render_all, write_masks
from digrap.data.mini.symbols import CLASSES, CODE_POINTS

MOST_ALIKE = 0.86  # the largest cosine between an "other" glyph and a class


def check_distinct(masks: np.ndarray) -> None:
    """Raise DigrapError when an "other" glyph (row ≥ 45) looks like a class: cosine of blurred masks above 0.86."""
    blurred = [Image.fromarray(mask).filter(ImageFilter.GaussianBlur(2.5)).resize((32, 32)) for mask in masks]
    rows = np.stack([np.asarray(image, dtype=np.float64).ravel() for image in blurred])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = rows[len(CLASSES) :] @ rows[: len(CLASSES)].T
    other, label = np.unravel_index(cosine.argmax(), cosine.shape)
    if cosine[other, label] > MOST_ALIKE:
        code = CODE_POINTS[len(CLASSES) + other]
        likeness = f"U+{code:04X} looks like {CLASSES[label]} (cosine {cosine[other, label]:.2f})"
        raise DigrapError(f"digrap/data/mini/symbols.py: {likeness}; take it out of OTHERS")


def main() -> None:
    """Render, check and write the masks; print the file's sha256."""
    out = Path(bare_keys(sys.argv[1:], {"out": str(REPO / "data" / "mini" / "glyphs.npz")}).out)
    masks = render_all(CODE_POINTS, FONTS / "DejaVuSans.ttf")
    check_distinct(masks)
    write_masks(out, masks, CODE_POINTS)


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
