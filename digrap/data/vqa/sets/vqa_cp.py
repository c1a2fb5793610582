"""VQA-CP v2 (Agrawal et al. 2018): VQAv2's train and validation questions divided differently, so that answer priors
change.

Addresses as in facebookresearch/mmf.

Traps: either part has pictures and questions of VQAv2's training. The files are bare lists, and `coco_split` says in
which of COCO's folders a picture lies.
"""

from __future__ import annotations

from digrap.data.vqa.official_files import Folder, unique
from digrap.data.vqa.sets import _coco
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.question import Question

SITE = "https://computing.ece.vt.edu/~aish/vqacp/"
PARTS = ("train", "test")


def names(part: str) -> tuple[str, str]:
    """Return the names of a part's question and annotation files."""
    return f"vqacp_v2_{part}_questions.json", f"vqacp_v2_{part}_annotations.json"


def read(folder: Folder, part: str) -> list[Question]:
    """Read vqacp_v2_<part>_questions.json and vqacp_v2_<part>_annotations.json."""
    records = []
    for question, annotation in folder.pairs(*names(part)):
        split = question.get("coco_split") or annotation.get("coco_split")
        if split not in ("train2014", "val2014"):
            folder.problems.add("no COCO split", f"VQA-CP question {question['question_id']}: coco_split {split!r}")
            continue
        records.append(folder.on_coco(question, annotation, split))
    return unique(records, folder.problems)


SET = VQASet(
    name="vqa_cp",
    title="VQA-CP v2",
    page=SITE,
    kind="near_ood",
    shift="answer",
    parts=PARTS,
    images=_coco.IMAGES,
    lists={"test": "combined_data.json"},
    read=read,
    files={
        part: (*(Item(f"vqa_cp/{name}", SITE, SITE + name) for name in names(part)), _coco.TRAIN2014, _coco.VAL2014)
        for part in PARTS
    },
    fetched=("test",),
    vqav2_ids=True,
)
