"""The ten VQA sets: what each shifts, which parts are read, where its files and pictures lie under the root."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What is known of a set. `kind` and `shift` are those of FRAMES-VQA's grouping (record.py: Question).

    `parts` are those that have answers, the one that is scored last. `images` is the folder to which the authors' list
    files' paths are relative, `lists` names these files by part. `numbered` says whether question ids are VQAv2's,
    `by_file` whether a picture's id is its file's name.
    """

    name: str
    title: str
    kind: str
    shift: str
    parts: tuple[str, ...]
    images: str
    lists: dict[str, str]
    numbered: bool = False
    by_file: bool = False


COCO = "images/coco"
COMBINED = "combined_data.json"

SETS = {
    facts.name: facts
    for facts in (
        Facts(
            "vqav2", "VQAv2", "id", "", ("train", "val"), COCO,
            {"train": "vqa_train.json", "val": "vqa_val.json"}, numbered=True,
        ),
        Facts("iv_vqa", "IV-VQA", "near_ood", "vision", ("val",), "images/iv-vqa", {"val": COMBINED}, numbered=True),
        Facts("cv_vqa", "CV-VQA", "near_ood", "vision", ("val",), "images/cv-vqa", {"val": COMBINED}, numbered=True),
        Facts("vqa_rephrasings", "VQA-Rephrasings", "near_ood", "question", ("val",), COCO, {"val": COMBINED}),
        Facts(
            "vqa_cp", "VQA-CP v2", "near_ood", "answer", ("train", "test"), COCO, {"test": COMBINED}, numbered=True,
        ),
        Facts(
            "vqa_ce", "VQA-CE", "near_ood", "multi-modal", ("easy", "hard", "counterexamples"), COCO,
            {"counterexamples": "combined_data_subset.json"}, numbered=True,
        ),
        Facts("advqa", "AdVQA", "near_ood", "adversarial", ("val",), COCO, {"val": COMBINED}),
        Facts("textvqa", "TextVQA 0.5.1", "far_ood", "", ("train", "val"), "images/textvqa", {"val": COMBINED}),
        Facts("vizwiz", "VizWiz", "far_ood", "", ("train", "val"), "images/vizwiz", {"val": COMBINED}, by_file=True),
        Facts("ok_vqa", "OK-VQA v1.1", "far_ood", "", ("train", "val"), COCO, {"val": COMBINED}),
    )
}  # fmt: skip
