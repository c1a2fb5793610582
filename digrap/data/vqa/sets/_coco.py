"""COCO's pictures of 2014, which seven of the sets ask about.

The checksums are published in a comment of salesforce/LAVIS, download_coco.py.
"""

from __future__ import annotations

from digrap.data.vqa.official_files import Folder, Record, unique
from digrap.data.vqa.vqa_set import Item
from digrap.metrics.vqa.answers import as_text
from digrap.metrics.vqa.question import Question

PAGE = "https://cocodataset.org/#download"
SITE = "http://images.cocodataset.org/zips/"
IMAGES = "images/coco"


def _pictures(split: str, md5: str, count: int) -> Item:
    return Item(f"{IMAGES}/{split}", PAGE, f"{SITE}{split}.zip", split, md5, count)


TRAIN2014 = _pictures("train2014", "0da8c0bd3d6becc4dcb32757491aca88", 82783)
VAL2014 = _pictures("val2014", "a3d79f5ed8d289b7a7554ce06a5782b3", 40504)
PICTURES = {"train": TRAIN2014, "val": VAL2014}


def read_typed(folder: Folder, questions: str, annotations: str, split: str) -> list[Question]:
    """Read two official files of questions on the pictures of `split`, with raw answers where the file has them."""
    records = []
    for question, annotation in folder.pairs(questions, annotations):
        raw = _raw_answers(annotation)
        records.append(folder.on_coco(question, annotation, split, **({"raw_answers": raw} if raw else {})))
    return unique(records, folder.problems)


def _raw_answers(annotation: Record) -> tuple[str, ...]:
    answers = annotation["answers"] if isinstance(annotation["answers"], list) else []
    raw = [as_text(answer.get("raw_answer")) for answer in answers if isinstance(answer, dict)]
    return () if None in raw else tuple(raw)
