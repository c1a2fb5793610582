"""Render characters of a font of matplotlib's as masks, for the makers of the shipped glyphs and letters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from digrap.core.errors import DigrapError
from digrap.core.files import sha256, write_atomically

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SIZE, FIT = 64, 54  # mask side and the glyph's longer side in it, in pixels


def render_all(codes: Sequence[int], path: Path) -> np.ndarray:
    """The characters `codes` of the font file `path` as uint8 masks (G, 64, 64).

    Raises DigrapError for a code point that the font lacks or leaves blank.
    """
    known = FT2Font(str(path)).get_charmap()
    unknown = [f"U+{code:04X}" for code in codes if code not in known]
    if unknown:
        raise DigrapError(f"{path} has no {', '.join(unknown)}; choose other code points")
    font = ImageFont.truetype(str(path), 200)
    return np.stack([render(code, font) for code in codes])


def render(code: int, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """One glyph as a uint8 (64, 64) mask, its longer side 54 pixels, centred. Raises DigrapError when it is blank."""
    page = Image.new("L", (500, 500))
    ImageDraw.Draw(page).text((120, 120), chr(code), fill=255, font=font, anchor="la")
    box = page.getbbox()
    if box is None:
        raise DigrapError(f"{font.path}: U+{code:04X} is blank; choose another code point")
    glyph = page.crop(box)
    scale = FIT / max(glyph.size)
    glyph = glyph.resize([max(1, round(side * scale)) for side in glyph.size], Image.Resampling.LANCZOS)
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(glyph, ((SIZE - glyph.width) // 2, (SIZE - glyph.height) // 2))
    return np.asarray(mask)


def write_masks(out: Path, masks: np.ndarray, codes: Sequence[int]) -> None:
    """Write masks and code points as a compressed npz file; print its sha256."""
    codes = np.array(codes, dtype=np.int32)
    write_atomically(out, lambda file: np.savez_compressed(file, masks=masks, codes=codes))
    print(f"{out}: {len(masks)} masks, {out.stat().st_size / 1024:.0f} KB, sha256 {sha256(out)}")
