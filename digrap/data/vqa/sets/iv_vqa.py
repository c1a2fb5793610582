"""IV-VQA (Agarwal, Shetty and Fritz 2020): one category of things is removed from the picture, the answer stays.

Traps: see _edited.py. The authors score the first prediction of a question id for all of its edits.
"""

from __future__ import annotations

from digrap.data.vqa.sets import _edited
from digrap.data.vqa.vqa_set import VQASet

IMAGES = "images/iv-vqa"

SET = VQASet(
    name="iv_vqa",
    title="IV-VQA",
    page=_edited.PAGE,
    kind="near_ood",
    shift="vision",
    parts=("val",),
    images=IMAGES,
    lists={"val": "combined_data.json"},
    lists_folder="iv-vqa",
    read=_edited.read,
    files={"val": _edited.items("iv_vqa", IMAGES, "annotations_0.1_0.1.tar.gz", "val2014_edited.tar.gz")},
    vqav2_ids=True,
)
