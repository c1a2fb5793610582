"""The form that IV-VQA and CV-VQA share (Agarwal, Shetty and Fritz 2020): VQAv2's questions about edited pictures.

Addresses as in AgarwalVedika/CausalVQA and chengyuehuang511/FRAMES-VQA.

Traps: several edits share the id of the question that they were made for, so only the image id tells them apart. Image
ids are text, "<picture>_<what was removed>". The archives unpack to folders of the authors' own machine.
"""

from __future__ import annotations

import re

from digrap.data.vqa.official_files import Folder, unique
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.question import Question

PAGE = "https://github.com/AgarwalVedika/CausalVQA"
SITE = "https://datasets.d2.mpi-inf.mpg.de/rakshith/causalvqa/rawdata/"
QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
EDITED = re.compile(r"(\d{1,12})_(\d{1,12})")  # COCO's picture, and the category (IV) or instance (CV) removed from it


def items(name: str, images: str, annotations_archive: str, images_archive: str) -> tuple[Item, ...]:
    """Return the items of the set `name`, whose pictures go to the folder `images`."""
    folder = annotations_archive.removesuffix(".tar.gz").partition("annotations_")[2]
    files = [
        Item(f"{name}/{file}", PAGE, SITE + annotations_archive, f"{folder}/{file}")
        for file in (QUESTIONS, ANNOTATIONS)
    ]
    return *files, Item(f"{images}/val2014", PAGE, SITE + images_archive, "val2014")


def read(folder: Folder, part: str) -> list[Question]:
    """Read the edits of v2_OpenEnded_mscoco_val2014_questions.json and v2_mscoco_val2014_annotations.json."""
    records = []
    for question, annotation in folder.pairs(QUESTIONS, ANNOTATIONS):
        edit, number = str(question["image_id"]), str(question["question_id"])
        if not (found := EDITED.fullmatch(edit)):
            where = f"{folder.dataset.title} question {number}: {edit!r}"
            folder.problems.add("image id that names no edit (left out)", where)
            continue
        image = f"{folder.dataset.images}/{part}2014/COCO_{part}2014_{edit}.jpg"
        known = {"name": f"{number}/{edit}", "picture": f"coco:{int(found[1])}"}
        records.append(folder.record(question, annotation, image=image, **known))
    return unique(records, folder.problems)


def edited_set(name: str, title: str, folder: str, annotations_archive: str, images_archive: str) -> VQASet:
    """The set `name`, whose pictures lie in images/`folder`; the authors' lists lie in a folder of that name too."""
    images = f"images/{folder}"
    return VQASet(
        name=name,
        title=title,
        page=PAGE,
        kind="near_ood",
        shift="vision",
        parts=("val",),
        images=images,
        lists={"val": "combined_data.json"},
        lists_folder=folder,
        read=read,
        files={"val": items(name, images, annotations_archive, images_archive)},
        vqav2_ids=True,
    )
