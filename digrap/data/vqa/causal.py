"""IV-VQA and CV-VQA (Agarwal, Shetty and Fritz 2020): VQAv2's questions about pictures with something removed."""

from __future__ import annotations

import re

from digrap.data.vqa.formats import Folder, unique
from digrap.data.vqa.record import Question

EDITED = re.compile(r"(\d{1,12})_(\d{1,12})")  # COCO picture, and the category (IV) or instance (CV) removed from it


def read_edited(folder: Folder, part: str) -> list[Question]:
    """v2_OpenEnded_mscoco_<part>2014_questions.json and v2_mscoco_<part>2014_annotations.json of the edits.

    Image ids are text. Several edits share the id of the question they were made for, so records are told apart by
    picture too. CV's multiple_choice_answer is that of the unedited picture: only the ten answers are read.
    """
    split = f"{part}2014"
    pairs = folder.pairs(f"v2_OpenEnded_mscoco_{split}_questions.json", f"v2_mscoco_{split}_annotations.json")
    records = []
    for question, annotation in pairs:
        edit = str(question["image_id"])
        number = str(question["question_id"])
        if not (found := EDITED.fullmatch(edit)):
            folder.problems.add(
                "image id that names no edit (left out)", f"{folder.facts.title} question {number}: {edit!r}"
            )
            continue
        image = f"{folder.facts.images}/{split}/COCO_{split}_{edit}.jpg"
        known = {"id": f"{number}/{edit}", "picture": f"coco:{int(found[1])}"}
        records.append(folder.record(question, annotation, image=image, **known))
    return unique(records, folder.problems)
