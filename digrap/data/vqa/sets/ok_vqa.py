"""OK-VQA v1.1 (Marino et al. 2019): questions that need knowledge from outside of the picture.

Traps: the answers that scorers compare with are stemmed, so that a prediction that is not stemmed loses;
`raw_answers` are the answers as they were typed.
"""

from __future__ import annotations

from digrap.data.vqa.official_files import Folder
from digrap.data.vqa.sets import _coco
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.question import Question

PAGE = "https://okvqa.allenai.org"
SITE = f"{PAGE}/static/data/"


def names(part: str) -> tuple[str, str]:
    """Return the names of a part's question and annotation files."""
    return f"OpenEnded_mscoco_{part}2014_questions.json", f"mscoco_{part}2014_annotations.json"


def read(folder: Folder, part: str) -> list[Question]:
    """Read OpenEnded_mscoco_<part>2014_questions.json and mscoco_<part>2014_annotations.json."""
    return _coco.read_typed(folder, *names(part), f"{part}2014")


SET = VQASet(
    name="ok_vqa",
    title="OK-VQA v1.1",
    page=PAGE,
    kind="far_ood",
    parts=("train", "val"),
    images=_coco.IMAGES,
    lists={"val": "combined_data.json"},
    lists_folder="ok-vqa",
    read=read,
    files={
        part: (*(Item(f"ok_vqa/{name}", PAGE, f"{SITE}{name}.zip", name) for name in names(part)), pictures)
        for part, pictures in _coco.PICTURES.items()
    },
)
