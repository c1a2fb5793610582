"""Draw a contact sheet of a miniature.

python scripts/gallery.py [of=minidomainnet seed=0 columns=15 image_size=32 out=outputs/gallery.png]
    one row per domain, one column per symbol
python scripts/gallery.py of=minivqa [seed=0 columns=3 out=outputs/gallery_minivqa.png]
    `columns` pictures of each of the ten VQA sets, with question and answers; edited ones beside their originals
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from digrap.cli.arguments import bare_keys, check_whole
from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically
from digrap.core.paths import OUTPUTS
from digrap.data import show
from digrap.data.mini.draw import DOMAINS, draw
from digrap.data.mini.glyphs import load_glyphs
from digrap.data.mini.symbols import CLASSES
from digrap.data.mini.vqa.folder import made
from digrap.data.mini.vqa.rows import coco_file
from digrap.data.mini.vqa.twins import Sizes
from digrap.data.vqa.pictures import Questions
from digrap.data.vqa.sets import SETS
from digrap.metrics.vqa.question import Question

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STREAM = 2  # datasets draw from stream 0, pre-training from 1
COLUMNS = {"minidomainnet": 15, "minivqa": 3}
FILES = {"minidomainnet": "gallery.png", "minivqa": "gallery_minivqa.png"}
DEFAULTS = {"of": "minidomainnet", "seed": 0, "columns": 0, "image_size": 32, "out": None}
EDITS = ("iv_vqa", "cv_vqa")
GAP = 2  # pixels
FEW = Sizes(400, 300, *[40] * 8)  # questions of each set, of which some are shown


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


class BesideOriginals(Dataset):
    """Questions about edited pictures, each picture to the right of its original."""

    def __init__(self, edits: Questions):
        self.edits = edits

    def __len__(self) -> int:
        return len(self.edits)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Question]:
        edited, record = self.edits[index]
        number = int(Path(record.image).stem.split("_")[2])  # COCO_val2014_<original>_<erased>
        original = self.edits.read(f"{self.edits.root}/{coco_file('val', number)}")
        gap = np.full((edited.height, GAP, 3), 255, np.uint8)
        return np.concatenate([np.asarray(original), gap, np.asarray(edited)], axis=1), record


def _with_originals(title: str, data: Questions) -> tuple[str, Dataset]:
    return (f"{title}: original, edited", BesideOriginals(data)) if title.startswith(EDITS) else (title, data)


def sheet_of_questions(seed: int, columns: int) -> Figure:
    """Draw `columns` pictures of each VQA set with their questions; one of each stands five in a row."""
    with tempfile.TemporaryDirectory() as folder:
        parts = show.load_sets(made(Path(folder), seed, FEW), list(SETS), "official", {})
        parts = dict(_with_originals(title, data) for title, data in parts.items())
        found = show.examples(parts, {}, columns * len(parts), seed)
    order = list(parts)
    return show.sheet(sorted(found, key=lambda one: order.index(one[1])), 5 if columns == 1 else columns)


def main() -> None:
    """Draw the sheet and print its path."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    if options.of not in FILES:
        raise DigrapError(f"of={options.of}: choose one of {', '.join(FILES)}")
    check_whole(options, seed=(0, 2**32 - 1), columns=(0, len(CLASSES)), image_size=(32, 48))
    columns = options.columns or COLUMNS[options.of]
    if options.of == "minivqa":
        figure = sheet_of_questions(options.seed, columns)
    else:
        figure = contact_sheet(options.seed, columns, options.image_size)
    out = Path(options.out or OUTPUTS / FILES[options.of])
    write_atomically(out, lambda file: figure.savefig(file, format="png"))
    print(out)
