"""ObjectNet (Barbu et al. 2019): its classes as ImageNet's by the mappings that it comes with, its border cut off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from digrap.core.errors import DigrapError
from digrap.data.images import read_picture

BORDER = 2  # pixels of a red border on each side, which marks the pictures as a test set's
LABELS, OVERLAP = "folder_to_objectnet_label.json", "objectnet_to_imagenet_1k.json"
NUMBERS, NAMES = "pytorch_to_imagenet_2012_id.json", "imagenet_to_label_2012_v2"


def without_border(path: str | Path) -> Image.Image:
    """Read a picture without its border."""
    image = read_picture(path)
    return image.crop((BORDER, BORDER, image.width - BORDER, image.height - BORDER))


def wordnet_ids(mappings: Path, listed: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return {folder: WordNet ids} and {folder: ObjectNet's label} of the classes that are ImageNet's too.

    A label is given as ImageNet's labels, `; ` between several; the line of a label in the list of names is its number
    in the challenge, which the third file maps to places among the sorted ids, `listed`. Raises DigrapError for files
    that are missing or do not fit together.
    """
    try:
        labels, overlap, numbers = (json.loads((mappings / name).read_text()) for name in (LABELS, OVERLAP, NUMBERS))
        names = (mappings / NAMES).read_text().splitlines()
        place_of = {number: int(place) for place, number in numbers.items()}
        id_of = {name.strip(): listed[place_of[number]] for number, name in enumerate(names) if name.strip()}
        folder_of = {label: folder for folder, label in labels.items()}
        ids = {folder_of[label]: [id_of[name] for name in text.split("; ")] for label, text in overlap.items()}
    except (OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise DigrapError(
            f"{mappings}: ObjectNet's mappings are missing or do not fit together ({error!r}); unpack them again from "
            f"objectnet-1.0.zip: {LABELS}, {OVERLAP}, {NUMBERS} and {NAMES}"
        ) from error
    return ids, {folder: labels[folder] for folder in ids}
