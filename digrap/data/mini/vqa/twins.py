"""The ten sets of a seed: rows of questions about pictures, each set the twin of a real one.

Pictures of training, of ID and of the near sets are drawn in style real. ID's test and validation are the validation
file, from which IV-VQA, CV-VQA, VQA-Rephrasings and VQA-CE are made; the other sets have pictures of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from digrap.data.mini.vqa import adversary
from digrap.data.mini.vqa.questions import WORDINGS, answer_of, relevant, text_of
from digrap.data.mini.vqa.rows import FIRST, Row, chosen, generator_of, rows_of, some
from digrap.data.mini.vqa.shortcuts import judge, mine

POOL = 3  # questions of which one fools the adversary, or more


@dataclass(frozen=True)
class Sizes:
    """Questions of each set, at most: IV-VQA, CV-VQA and AdVQA have those that there are. VQA-CE is a part of `val`,
    whose first half is the ID test and whose other half is ID validation, as the protocol draws them."""

    train: int = 8000
    val: int = 4000
    iv_vqa: int = 2000
    cv_vqa: int = 1200
    vqa_rephrasings: int = 2000
    vqa_cp: int = 2000
    advqa: int = 1500
    textvqa: int = 1000
    vizwiz: int = 1500
    ok_vqa: int = 1000


def vqav2(seed: int, part: str, count: int) -> list[Row]:
    """Return training's or validation's rows, with the same prior."""
    generator = generator_of(seed, part)
    return rows_of(chosen(generator, count), part, FIRST[part], generator, part)


def iv_vqa(seed: int, val: list[Row], count: int) -> list[Row]:
    """Return edits: an object of which the question does not speak is erased, the answers stay.

    Of questions on which all annotators agree; the object is the only one of its kind. The picture's second number is
    one more than the object's place in OBJECTS, as COCO's categories count from 1.
    """
    return some(generator_of(seed, "iv_vqa"), list(_irrelevant(val)), count)


def _irrelevant(val: list[Row]) -> Iterator[Row]:
    for row in _unanimous(val):
        scene = row.picture.scene
        for cell in scene.cells():
            kind, edited = scene.objects[cell], scene.without(cell)
            if len(scene.cells(kind)) > 1 or relevant(row.ask, scene, cell) or not edited.cells():
                continue
            if answer_of(row.ask, edited) == row.answer:
                yield _edit(row, "iv-vqa", cell, kind + 1, row.answer)


def cv_vqa(seed: int, val: list[Row], count: int) -> list[Row]:
    """Return edits: one of the counted objects is erased, the answer is one less.

    Of questions on which all annotators agree. The picture's second number names the object, as COCO's instances do.
    """
    return some(generator_of(seed, "cv_vqa"), list(_counted(val)), count)


def _counted(val: list[Row]) -> Iterator[Row]:
    for row in _unanimous(val):
        scene = row.picture.scene
        if row.ask.form.startswith("count") and len(scene.cells()) > 1:
            for cell in scene.cells(row.ask.kind, row.ask.color):
                instance = int(row.picture.id) * 10 + cell
                yield _edit(row, "cv-vqa", cell, instance, str(int(row.answer) - 1))


def _unanimous(rows: list[Row]) -> list[Row]:
    return [row for row in rows if len(set(row.answers)) == 1]


def _edit(row: Row, folder: str, cell: int, erased: int, answer: str) -> Row:
    """Return the question about its picture without the object in a cell, and another answer of all annotators."""
    name = f"{int(row.picture.id):012d}_{erased:012d}"
    file = f"images/{folder}/val2014/COCO_val2014_{name}.jpg"
    picture = row.picture._replace(id=name, file=file, scene=row.picture.scene.without(cell))
    return row._replace(picture=picture, answer=answer, answers=(answer,) * len(row.answers))


def vqa_rephrasings(seed: int, val: list[Row], count: int) -> list[Row]:
    """Return originals, each followed by its three rephrasings: same picture and answers, wordings 1 to 3.

    The number of a rephrasing is its original's plus 100 times the wording.
    """
    each = len(next(iter(WORDINGS.values())))
    return [
        row._replace(number=row.number + 100 * wording, text=text_of(row.ask, wording))
        for row in some(generator_of(seed, "vqa_rephrasings"), val, count // each)
        for wording in range(each)
    ]


def vqa_cp(seed: int, count: int) -> list[Row]:
    """Return rows whose answers have the reversed prior: in each form the rarest answer is now the most frequent."""
    generator = generator_of(seed, "vqa_cp")
    return rows_of(chosen(generator, count, reverse=True), "vqa_cp", FIRST["vqa_cp"], generator)


def vqa_ce(train: list[Row], val: list[Row]) -> dict[str, list[int]]:
    """Return the numbers of the validation questions that shortcuts of training answer wrongly (`counterexamples`), and
    of those to which none applies (`hard`)."""
    kinds = judge(mine(train), val)
    return {
        part: [row.number for row, kind in zip(val, kinds, strict=True) if kind == part]
        for part in ("counterexamples", "hard")
    }


def advqa(seed: int, count: int) -> list[Row]:
    """Return rows that the shipped adversary answers as no annotator does; before that, answers have ID's prior."""
    generator = generator_of(seed, "advqa")
    rows = rows_of(chosen(generator, POOL * count), "advqa", FIRST["advqa"], generator)
    said = adversary.load()([row.text for row in rows], [row.picture.scene for row in rows])
    return some(generator, [row for row, answer in zip(rows, said, strict=True) if answer not in row.answers], count)
