"""A contact sheet of the miniature DomainNet: a row a domain, a column a symbol.

python scripts/gallery.py [seed=0 columns=15 image_size=32 out=outputs/gallery.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from omegaconf import DictConfig

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from digrap.cli.door import bare_keys, check_whole, door  # noqa: E402
from digrap.core.files import write_atomically  # noqa: E402
from digrap.data.mini.draw import DOMAINS, draw  # noqa: E402
from digrap.data.mini.glyphs import load_glyphs  # noqa: E402
from digrap.data.mini.symbols import CLASSES  # noqa: E402

STREAM = 2  # datasets draw from stream 0, pre-training from 1
DEFAULTS = {"seed": 0, "columns": 15, "image_size": 32, "out": "outputs/gallery.png"}


def read_options() -> DictConfig:
    """The command line's options over the defaults. Raises DigrapError for an unknown one or one out of range."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    check_whole(options, seed=(0, 2**32 - 1), columns=(1, len(CLASSES)), image_size=(32, 48))
    return options


def contact_sheet(seed: int, columns: int, image_size: int):
    """A matplotlib figure with one picture of each of `columns` symbols in every domain."""
    # The backend without a display; imported here so that a mistyped option is answered at once.
    from matplotlib.figure import Figure

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
    """Draw the sheet and say where it is."""
    options = read_options()
    figure = contact_sheet(options.seed, options.columns, options.image_size)
    out = Path(options.out)
    # A path from the command line is the user's; the default one is the repository's, from wherever it is called.
    out = REPO / out if options.out == DEFAULTS["out"] else out
    write_atomically(out, lambda file: figure.savefig(file, format="png"))
    print(out)


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
