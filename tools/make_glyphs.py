"""Render the 285 glyph masks of the miniature DomainNet from matplotlib's own DejaVu Sans.

    python tools/make_glyphs.py [out=data/mini/glyphs.npz]

The masks are shipped; this documents where they come from. Another version of the font library may move a pixel; the
loader then refuses the file, because its sha256 is fixed in digrap/data/mini/glyphs.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.core.files import sha256, write_atomically
from digrap.core.paths import REPO
from digrap.data.mini.symbols import CLASSES, CODE_POINTS

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
SIZE, FIT = 64, 54  # mask side and the glyph's longer side in it, in pixels
MOST_ALIKE = 0.86  # the largest cosine between an "other" glyph and a class


def render(code: int, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """One glyph as a uint8 (64, 64) mask, its longer side 54 pixels, centred. Raises DigrapError when it is blank."""
    page = Image.new("L", (500, 500))
    ImageDraw.Draw(page).text((120, 120), chr(code), fill=255, font=font, anchor="la")
    box = page.getbbox()
    if box is None:
        raise DigrapError(f"{FONT}: U+{code:04X} is blank; choose another code point in digrap/data/mini/symbols.py")
    glyph = page.crop(box)
    scale = FIT / max(glyph.size)
    glyph = glyph.resize([max(1, round(side * scale)) for side in glyph.size], Image.Resampling.LANCZOS)
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(glyph, ((SIZE - glyph.width) // 2, (SIZE - glyph.height) // 2))
    return np.asarray(mask)


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
    known = FT2Font(str(FONT)).get_charmap()
    unknown = [f"U+{code:04X}" for code in CODE_POINTS if code not in known]
    if unknown:
        raise DigrapError(f"{FONT} has no {', '.join(unknown)}; change digrap/data/mini/symbols.py")
    font = ImageFont.truetype(str(FONT), 200)
    masks = np.stack([render(code, font) for code in CODE_POINTS])
    check_distinct(masks)
    codes = np.array(CODE_POINTS, dtype=np.int32)
    write_atomically(out, lambda file: np.savez_compressed(file, masks=masks, codes=codes))
    print(f"{out}: {len(masks)} masks, {out.stat().st_size / 1024:.0f} KB, sha256 {sha256(out)}")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
