"""AdVQA (Sheng et al. 2021): questions that people wrote to make a VQA model fail.

Traps: the files say val2017, but the pictures are those of val2014. There are no question types, and some answer types
are missing. The authors of FRAMES-VQA score a changed annotation file; what they changed is not published.
"""

from __future__ import annotations

from digrap.data.vqa.official_files import Folder
from digrap.data.vqa.sets import _coco
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.question import Question

PAGE = "https://adversarialvqa.org"
SITE = "https://dl.fbaipublicfiles.com/advqa/"
QUESTIONS = "v1_OpenEnded_mscoco_val2017_advqa_questions.json"
ANNOTATIONS = "v1_mscoco_val2017_advqa_annotations.json"


def read(folder: Folder, part: str) -> list[Question]:
    """Read v1_OpenEnded_mscoco_val2017_advqa_questions.json and v1_mscoco_val2017_advqa_annotations.json."""
    return _coco.read_typed(folder, QUESTIONS, ANNOTATIONS, "val2014")


SET = VQASet(
    name="advqa",
    title="AdVQA",
    page=PAGE,
    kind="near_ood",
    shift="adversarial",
    parts=("val",),
    images=_coco.IMAGES,
    lists={"val": "combined_data.json"},
    read=read,
    files={"val": (*(Item(f"advqa/{name}", PAGE, SITE + name) for name in (QUESTIONS, ANNOTATIONS)), _coco.VAL2014)},
)
