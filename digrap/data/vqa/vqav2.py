"""VQAv2 (Goyal et al. 2017) and the sets that are made of its questions: VQA-CP v2, VQA-CE, VQA-Rephrasings."""

from __future__ import annotations

from dataclasses import replace

from digrap.core.errors import DigrapError
from digrap.core.json_files import is_id
from digrap.data.vqa.formats import Folder, unique
from digrap.data.vqa.record import Question

REPHRASINGS = "v2_OpenEnded_mscoco_valrep2014_humans_og_questions.json"


def read_vqav2(folder: Folder, part: str) -> list[Question]:
    """v2_OpenEnded_mscoco_<part>2014_questions.json and v2_mscoco_<part>2014_annotations.json."""
    split = f"{part}2014"
    pairs = folder.pairs(questions_file(part), f"v2_mscoco_{split}_annotations.json")
    return unique((folder.on_coco(*pair, split) for pair in pairs), folder.problems)


def questions_file(part: str) -> str:
    """The name of a part's question file."""
    return f"v2_OpenEnded_mscoco_{part}2014_questions.json"


def read_cp(folder: Folder, part: str) -> list[Question]:
    """vqacp_v2_<part>_{questions,annotations}.json: bare lists, pictures of both COCO folders (Agrawal et al. 2018)."""
    pairs = folder.pairs(f"vqacp_v2_{part}_questions.json", f"vqacp_v2_{part}_annotations.json")
    records = []
    for question, annotation in pairs:
        split = question.get("coco_split") or annotation.get("coco_split")
        if split not in ("train2014", "val2014"):
            folder.problems.add("no COCO split", f"VQA-CP question {question['question_id']}: coco_split {split!r}")
            continue
        records.append(folder.on_coco(question, annotation, split))
    return unique(records, folder.problems)


def read_ce(folder: Folder, part: str) -> list[Question]:
    """VQAv2's validation questions, in its order, that counterexamples.json or hard.json lists; easy: the others
    (Dancette et al. 2021)."""
    listed = {name: _numbers(folder, f"{name}.json") for name in ("counterexamples", "hard")}
    every = read_vqav2(folder.of("vqav2"), "val")
    known = {record.id for record in every}
    for name, numbers in listed.items():
        for number in sorted(numbers - known):
            folder.problems.add("listed id that is no VQAv2 validation question", f"VQA-CE {name}.json: {number}")
    wanted = listed[part] if part in listed else known - listed["counterexamples"] - listed["hard"]
    of = {"dataset": folder.facts.name, "kind": folder.facts.kind, "shift": folder.facts.shift}
    return [replace(record, **of) for record in every if record.id in wanted]


def _numbers(folder: Folder, name: str) -> set[str]:
    found = folder.load(name)
    if not isinstance(found, list) or not all(map(is_id, found)):
        raise DigrapError(f"{folder.find(name)} is no list of question ids; {folder.mend}")
    return set(map(str, found))


def read_rephrasings(folder: Folder, part: str) -> list[Question]:
    """v2_OpenEnded_mscoco_valrep2014_humans_og_questions.json and …_annotations.json: questions of VQAv2's validation
    and their rephrasings, which say what they rephrase (Shah et al. 2019).

    A rephrasing's number may be another question's: it is told apart by what it rephrases.
    """
    records = []
    for question, annotation in folder.pairs(REPHRASINGS, "v2_mscoco_valrep2014_humans_og_annotations.json"):
        number, of = str(question["question_id"]), str(question.get("rephrasing_of") or "")
        known = {"id": f"{of}/{number}" if of else number, "origin": of or number, "rephrasing_of": of}
        records.append(folder.on_coco(question, annotation, "val2014", **known))
    return unique(records, folder.problems)
