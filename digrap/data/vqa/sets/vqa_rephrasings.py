"""VQA-Rephrasings (Shah et al. 2019): questions of VQAv2's validation with three or four rephrasings each.

Traps: the originals are scored too. The number of a rephrasing may be that of another question of this file or of
VQAv2; "<rephrasing_of>/<question_id>" names it alone. Some questions are empty or end in "/". The authors' list file
does not say which questions are rephrasings. No address of the two files is known: they are fetched by hand.
"""

from __future__ import annotations

from digrap.data.vqa.official_files import FileMissing, Folder, Record, asked, unique
from digrap.data.vqa.sets import _coco
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.answers import as_text
from digrap.metrics.vqa.question import Question

PAGE = "https://facebookresearch.github.io/VQA-Rephrasings/"
QUESTIONS = "v2_OpenEnded_mscoco_valrep2014_humans_og_questions.json"
ANNOTATIONS = "v2_mscoco_valrep2014_humans_og_annotations.json"


def read(folder: Folder, part: str) -> list[Question]:
    """Read v2_OpenEnded_mscoco_valrep2014_humans_og_questions.json and v2_mscoco_…_annotations.json: originals and
    rephrasings, which say what they rephrase."""
    records = []
    for question, annotation in folder.pairs(QUESTIONS, ANNOTATIONS):
        number, of = str(question["question_id"]), original_of(question)
        known = {"origin": number}
        if of:
            known = {"name": f"{of}/{number}", "origin": of, "rephrasing_of": of}
        records.append(folder.on_coco(question, annotation, "val2014", **known))
    return unique(records, folder.problems)


def originals(folder: Folder) -> dict[tuple[str, str], str]:
    """Return {`asked` of a question: id of the question that it rephrases, "" for an original} of the question file.

    Empty, and a problem counted, where that file is missing: it has to be fetched by hand, and the authors' list can be
    read without it.
    """
    try:
        found = folder.entries(QUESTIONS, "questions", ("question_id", "question"))
    except FileMissing as error:
        folder.problems.add("unknown which questions are rephrasings: leakage by id cannot be seen", str(error))
        return {}
    return {asked(question): original_of(question) for question in found}


def original_of(question: Record) -> str:
    """Return the id of the question that this one rephrases; "" for an original."""
    return as_text(question.get("rephrasing_of")) or ""


SET = VQASet(
    name="vqa_rephrasings",
    title="VQA-Rephrasings",
    page=PAGE,
    kind="near_ood",
    shift="question",
    parts=("val",),
    images=_coco.IMAGES,
    lists={"val": "combined_data.json"},
    read=read,
    originals=originals,
    files={"val": (*(Item(f"vqa_rephrasings/{name}", PAGE) for name in (QUESTIONS, ANNOTATIONS)), _coco.VAL2014)},
)
