"""Draw a contact sheet of the miniature DomainNet: a row a domain, a column a symbol.

python scripts/gallery.py [seed=0 columns=15 image_size=32 out=outputs/gallery.png]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from digrap.cli.arguments import bare_keys, check_whole
from digrap.core.files import write_atomically
from digrap.core.paths import OUTPUTS
from digrap.data.mini.draw import DOMAINS, draw
from digrap.data.mini.glyphs import load_glyphs
from digrap.data.mini.symbols import CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STREAM = 2  # datasets draw from stream 0, pre-training from 1
DEFAULTS = {"seed": 0, "columns": 15, "image_size": 32, "out": str(OUTPUTS / "gallery.png")}


def contact_sheet(seed: int, columns: int, image_size: int) -> Figure:
    """Draw one picture of each of `columns` symbols in every domain, `image_size` pixels wide."""
    from matplotlib.figure import Figure  # takes a second to import; a mistyped option is answered at once

    labels = torch.linspace(0, len(CLASSES) - 1, columns).round().long()
    glyphs = load_glyphs()
    figure = Figure(figsize=(columns + 1, len(DOMAINS) + 0.4), layout="constrained", dpi=100)
    axes = figure.subplots(len(DOMAINS), columns, squeeze=False)
    for row, domain in enumerate(DOMAINS):
        pictures = torch.cat(list(draw(glyphs, labels, domain, (STREAM, seed, 0), image_size)))
        for cell, picture in zip(axes[row], pictures, strict=True):
            cell.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
            cell.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(domain)
    for cell, label in zip(axes[0], labels.tolist(), strict=True):
        cell.set_title(CLASSES[label].replace("_", "\n"), fontsize=8)
    return figure


def main() -> None:
    """Draw the sheet and print its path."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    check_whole(options, seed=(0, 2**32 - 1), columns=(1, len(CLASSES)), image_size=(32, 48))
    figure = contact_sheet(options.seed, options.columns, options.image_size)
    out = Path(options.out)
    write_atomically(out, lambda file: figure.savefig(file, format="png"))
    print(out)
