"""Readers of annotation files: the questions to score, with their human answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.json_files import Place
from digrap.core.json_files import entries as objects
from digrap.core.json_lines import read_json_or_lines
from digrap.core.problems import Problems
from digrap.metrics.vqa.answers import answer_keys, as_text, usable_answers
from digrap.metrics.vqa.ids import Spellings, same_ids
from digrap.metrics.vqa.question import Question

ANSWER_IDS = ("file", "add")
LACKING_IDS = "answers without unique answer_id: equal ones drop together; answer_ids=add tells them apart"


def read_annotations(
    annotations: Path | str, problems: Problems, questions: Path | str | None = None, answer_ids: str = "file"
) -> list[Question]:
    """Read the questions to score, in the order of their annotation file.

    The file is {"annotations": [...]} or a bare list of VQA's annotations, TextVQA's {"data": [...]}, or VizWiz's list,
    whose questions are named by their place or picture. `answer_ids`: "file" takes the answers as they are, so that
    answers without a unique answer_id drop together in the leave-one-out; "add" tells all of them apart. A file of
    `questions` is compared with the annotations and gives `rephrasing_of`; mismatches are counted in `problems`. Raises
    DigrapError for files that cannot be read in these forms.
    """
    check_answer_ids(answer_ids)
    data = read_json_or_lines(annotations, "annotations")
    names = {}  # VizWiz's form has no question_id: its questions are called by their place, or by their picture
    for place, record in enumerate(data if isinstance(data, list) else ()):
        if isinstance(record, dict) and "question_id" not in record and isinstance(record.get("image"), str):
            record.update(question_id=Place(place), image_id=record["image"])
            names[str(place)] = record["image"]
    found = objects(data, list_key(data, "annotations"), annotations, problems, ("question_id",))
    read = [_question(record, answer_ids, problems, f"{annotations}: ", names) for record in found]
    scored = [question for question in read if question]
    if not scored:
        raise DigrapError(f"{annotations} has no annotation that can be scored ({problems.one_line()})")
    _count_odd(scored, problems)
    return scored if questions is None else _with_questions(scored, annotations, questions, problems)


def check_answer_ids(answer_ids: str) -> None:
    """Raise DigrapError for an unknown choice."""
    if answer_ids not in ANSWER_IDS:
        raise DigrapError(f"answer_ids={answer_ids}: choose one of {', '.join(ANSWER_IDS)}")


def repeated(questions: Iterable[Question]) -> set[str]:
    """Return the question ids that several questions have."""
    return {number for number, count in Counter(question.question_id for question in questions).items() if count > 1}


def list_key(data: Any, usual: str) -> str:
    """Return the key of a file's list: the usual one, or "data" where TextVQA has questions and answers together."""
    return "data" if isinstance(data, dict) and usual not in data and "data" in data else usual


def _question(
    record: dict, answer_ids: str, problems: Problems, file: str, names: Mapping[str, str]
) -> Question | None:
    """Return an annotation's question; `names` maps question ids to names. None, and a problem counted, for an
    annotation without answers that can be used."""
    answers, number = record.get("answers"), str(record["question_id"])
    if not (texts := usable_answers(answers, problems, f"{file}question {number}")):
        return None
    return Question(
        question_id=number,
        placed=isinstance(record["question_id"], Place),
        image_id=as_text(record.get("image_id")),
        answers=texts,
        answer_keys=None if answer_ids == "add" else answer_keys(answers),
        answer_type=as_text(record.get("answer_type")),
        question_type=as_text(record.get("question_type")),
        rephrasing_of=as_text(record.get("rephrasing_of")),
        name=names.get(number),
    )


def _count_odd(questions: list[Question], problems: Problems) -> None:
    """Count annotations that lack something and can still be scored."""
    for question in questions:
        where = f"question {question.question_id}"
        if question.answer_keys is not None:
            problems.add(LACKING_IDS, where)
        if question.answer_type is None:
            problems.add("annotation without answer_type", where)
        if question.question_type is None:
            problems.add("annotation without question_type", where)


def _with_questions(
    annotated: list[Question], annotations: Path | str, path: Path | str, problems: Problems
) -> list[Question]:
    """Return the annotated questions with the `rephrasing_of` of their question file.

    Files that name the same questions in the same order are joined place by place, because a rephrasing may have the id
    of another question; others by their ids, numbers without their leading zeros. Questions and annotations without a
    counterpart are counted.
    """
    data = read_json_or_lines(path, "questions")
    found = objects(data, list_key(data, "questions"), path, problems, ("question_id",))
    numbers = [str(record["question_id"]) for record in found]
    if same_ids(numbers, [question.question_id for question in annotated]):
        return [_as_rephrasing(question, record) for question, record in zip(annotated, found, strict=True)]
    # Where both files name the image it is part of the id, because edits share a question id.
    has_images = (question.image_id is not None for question in annotated)
    images = [as_text(record.get("image_id")) for record in found]
    by_image = all(has_images) and None not in images
    records: dict[str, dict] = {}
    for number, image, record in zip(numbers, images, found, strict=True):
        full = f"{number}/{image}" if by_image else number
        if full in records:
            problems.add("question twice in the question file", f"{path}: question {full}")
        records[full] = record
    result, met, spelled = [], set(), Spellings(records)
    for question in annotated:
        full = question.full_id if by_image else question.question_id
        if (known := spelled.find(full)) is None:
            problems.add("annotation without question (scored)", f"{annotations}: question {full}")
        met.add(known)
        result.append(_as_rephrasing(question, records.get(known, {})))
    for full in records:
        if full not in met:
            problems.add("question without annotation (not scored)", f"{path}: question {full}")
    return result


def _as_rephrasing(question: Question, record: dict) -> Question:
    """Return the question with what its record in the question file says it rephrases, and the name that follows."""
    if (original := as_text(record.get("rephrasing_of"))) is None:
        return question
    return replace(question, rephrasing_of=original, name=f"{original}/{question.question_id}")
