"""Render the 26 letter masks of the words in scenes from matplotlib's own DejaVu Sans Mono Bold.

    python tools/make_letters.py [out=data/mini/letters.npz]

The masks are shipped; this documents where they come from. The loader refuses a file whose sha256 is not the one in
digrap/data/mini/glyphs.py, as it does for the glyphs of tools/make_glyphs.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from string import ascii_uppercase

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.core.paths import REPO
from digrap.data.mini.font import FONTS, render_all, write_masks


def main() -> None:
    """Render and write the masks; print the file's sha256."""
    out = Path(bare_keys(sys.argv[1:], {"out": str(REPO / "data" / "mini" / "letters.npz")}).out)
    codes = [ord(letter) for letter in ascii_uppercase]
    write_masks(out, render_all(codes, FONTS / "DejaVuSansMono-Bold.ttf"), codes)


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
