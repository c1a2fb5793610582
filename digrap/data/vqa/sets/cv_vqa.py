"""CV-VQA (Agarwal, Shetty and Fritz 2020): one counted thing is removed from the picture, the answer is one less.

Traps: see _edited.py. `multiple_choice_answer` is still the count of the unedited picture; only the ten answers are
read. The authors score the first prediction of a question id for all of its edits.
"""

from __future__ import annotations

from digrap.data.vqa.sets import _edited
from digrap.data.vqa.vqa_set import VQASet

IMAGES = "images/cv-vqa"

SET = VQASet(
    name="cv_vqa",
    title="CV-VQA",
    page=_edited.PAGE,
    kind="near_ood",
    shift="vision",
    parts=("val",),
    images=IMAGES,
    lists={"val": "combined_data.json"},
    lists_folder="cv-vqa",
    read=_edited.read,
    files={"val": _edited.items("cv_vqa", IMAGES, "CV_VQA_annotations_0.1_0.0.tar.gz", "CV_VQA_val2014.tar.gz")},
    vqav2_ids=True,
)
