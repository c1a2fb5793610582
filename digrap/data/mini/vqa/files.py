"""Rows of the ten sets in the official file formats, at the places where the readers of the real sets look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from digrap.data.mini.vqa.far_twins import UNANSWERABLE
from digrap.data.mini.vqa.questions import TYPES
from digrap.data.mini.vqa.rows import Row
from digrap.data.vqa.sets import _edited, advqa, ok_vqa, textvqa, vqa_cp, vqa_rephrasings, vqav2

CONFIDENT = ("yes", "maybe")  # an annotator who is right, and one who slips
PLACE = "https://example.org/minivqa"  # for addresses that the format wants; nothing is there
PIXELS = 48
TOPICS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "other")


def write_sets(root: Path, sets: Mapping[str, Sequence[Row]], listed: Mapping[str, Sequence[int]]) -> None:
    """Write the files of all sets below `root`. `sets` has the rows of vqav2_train, vqav2_val and of each other set,
    `listed` the question ids of VQA-CE's two files."""
    for part in ("train", "val"):
        names = vqav2.questions_file(part), vqav2.annotations_file(part)
        _pair(root / "vqav2", names, sets[f"vqav2_{part}"], f"{part}2014")
    for name in ("iv_vqa", "cv_vqa"):
        _pair(root / name, (_edited.QUESTIONS, _edited.ANNOTATIONS), sets[name], stale=int(name == "cv_vqa"))
    names = vqa_rephrasings.QUESTIONS, vqa_rephrasings.ANNOTATIONS
    _pair(root / "vqa_rephrasings", names, sets["vqa_rephrasings"], "val2014", more=_rephrased)
    _pair(root / "advqa", (advqa.QUESTIONS, advqa.ANNOTATIONS), sets["advqa"], "val2017", typed=False)
    _pair(root / "ok_vqa", ok_vqa.names("val"), sets["ok_vqa"], "val2014", raw=True)
    rows = sets["vqa_cp"]
    split = {"coco_split": "val2014"}
    for name, entry in zip(vqa_cp.names("test"), (_question, _annotation), strict=True):
        _write(root / "vqa_cp" / name, [entry(row) | split for row in rows])
    for name, numbers in listed.items():
        _write(root / "vqa_ce" / f"{name}.json", list(numbers))
    _write(root / "textvqa" / textvqa.file_name("val"), {"data": [_text(row) for row in sets["textvqa"]]})
    _write(root / "vizwiz" / "val.json", [_vizwiz(row) for row in sets["vizwiz"]])


def _pair(
    folder: Path, names: tuple[str, str], rows: Sequence[Row], subset: str = "", more=lambda row: {}, **options: Any
) -> None:
    """Write a file of questions and one of annotations; without `subset`, as IV-VQA and CV-VQA, nothing else in them.
    `more` returns further keys of a question."""
    head: dict[str, Any] = {}
    if subset:
        head = {"info": {"description": "minivqa"}, "license": {}, "data_type": "mscoco", "data_subtype": subset}
    asked = [_question(row) | more(row) for row in rows]
    _write(folder / names[0], head | ({"task_type": "Open-Ended"} if subset else {}) | {"questions": asked})
    _write(folder / names[1], head | {"annotations": [_annotation(row, **options) for row in rows]})


def _question(row: Row) -> dict[str, Any]:
    return {"image_id": _image_id(row), "question": row.text, "question_id": row.number}


def _image_id(row: Row) -> int | str:
    """Return COCO's number of a picture; the name of an edit, which is text."""
    return int(row.picture.id) if row.picture.id.isdigit() else row.picture.id


def _rephrased(row: Row) -> dict[str, int]:
    place = row.number % 1000
    return {"rephrasing_of": row.number - place + place % 100} if place >= 100 else {}


def _annotation(row: Row, typed: bool = True, raw: bool = False, stale: int = 0) -> dict[str, Any]:
    """Return the annotation. `typed`: with a question type; `raw`: answers as they were typed too, and a topic; `stale`
    is added to multiple_choice_answer, which CV-VQA leaves at the count of the unedited picture."""
    answers = [
        {"answer": answer, "answer_confidence": _confidence(row, answer), "answer_id": place}
        for place, answer in enumerate(row.answers, 1)
    ]
    known: dict[str, Any] = {"question_id": row.number, "image_id": _image_id(row)}
    if raw:
        answers = [answer | {"raw_answer": answer["answer"]} for answer in answers]
        topic = TOPICS[int(row.ask.form.split()[1])]
        return known | {"question_type": topic, "answer_type": "other", "answers": answers, "confidence": 3}
    kinds = TYPES[row.ask.form.split()[0]]
    known |= {"question_type": kinds[0]} if typed else {}
    shown = str(int(row.answer) + stale) if stale else row.answer
    return known | {"answer_type": kinds[1], "multiple_choice_answer": shown, "answers": answers}


def _confidence(row: Row, answer: str) -> str:
    return CONFIDENT[answer != row.answer]


def _text(row: Row) -> dict[str, Any]:
    """Return an entry of TextVQA's file, which holds questions and answers."""
    address = f"{PLACE}/{row.picture.id}.jpg"
    return {
        "question_id": row.number, "question": row.text, "question_tokens": row.text.removesuffix(" ?").split(),
        "image_id": row.picture.id, "image_classes": ["Sign"], "image_width": PIXELS, "image_height": PIXELS,
        "flickr_original_url": address, "flickr_300k_url": address, "set_name": "val", "answers": list(row.answers),
    }  # fmt: skip


def _vizwiz(row: Row) -> dict[str, Any]:
    """Return an entry of VizWiz's file: no ids, the picture's file names the question."""
    answers = [{"answer": answer, "answer_confidence": _confidence(row, answer)} for answer in row.answers]
    answerable = row.answer != UNANSWERABLE
    kind = row.ask.answer_type if answerable else UNANSWERABLE
    known = {"image": row.picture.id, "question": row.text, "answers": answers}
    return known | {"answer_type": kind, "answerable": int(answerable)}


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
