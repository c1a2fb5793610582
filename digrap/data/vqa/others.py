"""Sets with questions of their own: AdVQA and OK-VQA on COCO's pictures, TextVQA and VizWiz on others."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.json_files import by_place, entries
from digrap.data.vqa.formats import Folder, unique
from digrap.data.vqa.record import Question

ROTATIONS = "train-images-boxable-with-rotation.csv"


def read_advqa(folder: Folder, part: str) -> list[Question]:
    """v1_OpenEnded_mscoco_val2017_advqa_questions.json and v1_mscoco_val2017_advqa_annotations.json (Sheng et al.
    2021). Their val2017 is of another numbering: the pictures are those of val2014."""
    pairs = folder.pairs("v1_OpenEnded_mscoco_val2017_advqa_questions.json", "v1_mscoco_val2017_advqa_annotations.json")
    return _on_coco(folder, pairs, part)


def read_okvqa(folder: Folder, part: str) -> list[Question]:
    """OpenEnded_mscoco_<part>2014_questions.json and mscoco_<part>2014_annotations.json, v1.1 (Marino et al. 2019).

    `answers` are the stemmed ones that the scorers compare with, `raw_answers` those that were typed.
    """
    split = f"{part}2014"
    pairs = folder.pairs(f"OpenEnded_mscoco_{split}_questions.json", f"mscoco_{split}_annotations.json")
    return _on_coco(folder, pairs, part)


def _on_coco(folder: Folder, pairs: list, part: str) -> list[Question]:
    records = []
    for question, annotation in pairs:
        answers = annotation["answers"] if isinstance(annotation["answers"], list) else []
        raw = [answer.get("raw_answer") for answer in answers if isinstance(answer, dict)]
        known = {"raw_answers": tuple(raw)} if raw and all(isinstance(text, str) for text in raw) else {}
        records.append(folder.on_coco(question, annotation, f"{part}2014", **known))
    return unique(records, folder.problems)


def read_textvqa(folder: Folder, part: str) -> list[Question]:
    """TextVQA_0.5.1_<part>.json (Singh et al. 2019); the validation's pictures lie in train_images too."""
    name = f"TextVQA_0.5.1_{part}.json"
    records = []
    for entry in folder.entries(name, "data", ("question_id", "question", "image_id", "answers")):
        file = f"{entry['image_id']}.jpg"
        image = f"{folder.facts.images}/train_images/{file}"
        records.append(folder.record(entry, entry, image=image, picture=f"textvqa:{file}"))
    return unique(records, folder.problems)


def read_vizwiz(folder: Folder, part: str) -> list[Question]:
    """<part>.json (Gurari et al. 2018): no question ids, so the place in the file is the id; answers have no
    answer_id, so equal ones of equal confidence are one to the official code."""
    data, records = by_place(folder.load(f"{part}.json")), []
    for entry in entries(data, "questions", f"{part}.json", folder.problems, ("image", "question", "answers")):
        file = str(entry["image"])
        image = f"{folder.facts.images}/{part}/{file}"
        known = {"image": image, "picture": f"vizwiz:{file}", "alias": file}
        records.append(folder.record(entry | {"image_id": file}, entry, **known))
    return unique(records, folder.problems)


def rotations(folder: Folder, wanted: Iterable[str]) -> dict[str, int]:
    """Open Images' record of how far a stored picture is from upright: image id → degrees to turn it counterclockwise.

    Only `wanted` ids that need turning. Raises DigrapError where the table is missing or has another form.
    """
    path, wanted, found = folder.find(ROTATIONS), set(wanted), {}
    for image, degrees in _table(path):
        if image in wanted and degrees not in ("", "nan"):
            try:
                turn = int(float(degrees)) % 360
            except (ValueError, OverflowError) as error:
                raise DigrapError(f"{path}: Rotation {degrees!r} of {image} is no number; {folder.mend}") from error
            if turn % 90:
                raise DigrapError(f"{path}: Rotation {degrees!r} of {image} is no quarter turn; {folder.mend}")
            if turn:
                found[image] = turn
    return found


def _table(path: Path) -> Iterable[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not {"ImageID", "Rotation"} <= set(rows.fieldnames or ()):
                raise DigrapError(f"{path}: no columns ImageID and Rotation; give Open Images' file")
            for row in rows:
                yield row["ImageID"], (row["Rotation"] or "").strip().lower()
    except (csv.Error, UnicodeDecodeError) as error:
        raise DigrapError(f"{path}: no table in UTF-8 ({error}); give Open Images' file") from error
