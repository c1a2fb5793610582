"""TextVQA 0.5.1 (Singh et al. 2019): questions whose answers have to be read in the picture.

The address of the rotations is that in google-research/big_vision.

Traps: the pictures of the validation lie in train_images too. Some are stored turned; Open Images' table of rotations
says by how much, and the authors of FRAMES-VQA leave them so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.data.vqa.official_files import Folder, unique
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.question import Question

PAGE = "https://textvqa.org"
SITE = "https://dl.fbaipublicfiles.com/textvqa/"
IMAGES = "images/textvqa"
ROTATIONS = "train-images-boxable-with-rotation.csv"
ROTATIONS_URL = f"https://storage.googleapis.com/openimages/2018_04/train/{ROTATIONS}"


def file_name(part: str) -> str:
    """Return the name of a part's file."""
    return f"TextVQA_0.5.1_{part}.json"


def read(folder: Folder, part: str) -> list[Question]:
    """Read TextVQA_0.5.1_<part>.json, which holds questions and answers."""
    records = []
    needed = ("question_id", "question", "image_id", "answers")
    for entry in folder.entries(file_name(part), "data", needed):
        if (name := folder.file_of(entry, "image_id")) is None:
            continue
        file = f"{name}.jpg"
        image = f"{IMAGES}/train_images/{file}"
        records.append(folder.record(entry, entry, image=image, picture=f"textvqa:{file}"))
    return unique(records, folder.problems)


def turns(folder: Folder, wanted: Iterable[str]) -> dict[str, int]:
    """Return {image id: degrees to turn the stored picture counterclockwise} for `wanted` ids that need turning.

    Read from Open Images' table. Raises DigrapError where the table is missing or has another form.
    """
    path, wanted, found = folder.find(ROTATIONS), set(wanted), {}
    fix = folder.fix_whole(ROTATIONS)
    for image, degrees in _rows(path, fix):
        if image in wanted and degrees not in ("", "nan"):
            try:
                turn = int(float(degrees)) % 360
            except (ValueError, OverflowError) as error:
                raise DigrapError(f"{path}: Rotation {degrees!r} of {image} is not a number; {fix}") from error
            if turn % 90:
                raise DigrapError(f"{path}: Rotation {degrees!r} of {image} is not a quarter turn; {fix}")
            if turn:
                found[image] = turn
    return found


def _rows(path: Path, fix: str) -> Iterable[tuple[str, str]]:
    """Yield (image id, rotation as text). Raises DigrapError, which ends with `fix`, for a file of another form."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"ImageID", "Rotation"} <= set(rows.fieldnames or ()):
                raise DigrapError(f"{path}: no columns ImageID and Rotation; {fix}")
            for row in rows:
                yield row["ImageID"], (row["Rotation"] or "").strip().lower()
    except (csv.Error, UnicodeDecodeError) as error:
        raise DigrapError(f"{path}: not a table in UTF-8 ({error}); {fix}") from error


PICTURES = (
    Item(f"textvqa/{ROTATIONS}", PAGE, ROTATIONS_URL, optional=True),
    Item(f"{IMAGES}/train_images", PAGE, f"{SITE}images/train_val_images.zip", "train_images"),
)
SET = VQASet(
    name="textvqa",
    title="TextVQA 0.5.1",
    page=PAGE,
    kind="far_ood",
    parts=("train", "val"),
    images=IMAGES,
    lists={"val": "combined_data.json"},
    read=read,
    turns=turns,
    files={
        part: (Item(f"textvqa/{file_name(part)}", PAGE, f"{SITE}data/{file_name(part)}"), *PICTURES)
        for part in ("train", "val")
    },
)
