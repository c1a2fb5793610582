"""Readers of annotation files: the questions to score, with their human answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.json_files import entries as objects
from digrap.core.json_files import read_json
from digrap.core.problems import Problems
from digrap.metrics.vqa.question import Question

ANSWER_IDS = ("file", "add")
LACKING_IDS = "answers without unique answer_id: equal ones drop together; answer_ids=add tells them apart"


def read_annotations(
    annotations: Path | str, problems: Problems, questions: Path | str | None = None, answer_ids: str = "file"
) -> list[Question]:
    """Read the questions to score, in the order of their annotation file.

    The file is {"annotations": [...]} or a bare list of VQA's annotations, or VizWiz's list, whose questions are named
    by their place or picture. `answer_ids`: "file" takes the answers as they are, so that answers without a unique
    answer_id drop together in the leave-one-out; "add" tells all of them apart. A file of `questions` is compared with
    the annotations and gives `rephrasing_of`; mismatches are counted in `problems`. Raises DigrapError for files that
    cannot be read in these forms.
    """
    check_answer_ids(answer_ids)
    data = read_json(annotations, "annotations")
    names = {}  # VizWiz's form has no question_id: its questions are called by their place, or by their picture
    for place, record in enumerate(data if isinstance(data, list) else ()):
        if isinstance(record, dict) and "question_id" not in record and "image" in record:
            record.update(question_id=place, image_id=record["image"])
            names[str(place)] = str(record["image"])
    found = objects(data, "annotations", annotations, problems, ("question_id",))
    read = [_question(record, answer_ids, problems, names) for record in found]
    scored = [question for question in read if question]
    if not scored:
        raise DigrapError(f"{annotations} has no annotation that can be scored ({problems.said()})")
    _count_odd(scored, problems)
    return scored if questions is None else _with_questions(scored, questions, problems)


def check_answer_ids(answer_ids: str) -> None:
    """Raise DigrapError for an unknown choice."""
    if answer_ids not in ANSWER_IDS:
        raise DigrapError(f"answer_ids={answer_ids}: choose one of {', '.join(ANSWER_IDS)}")


def repeated(questions: Iterable[Question]) -> set[str]:
    """Return the question ids that several questions have."""
    return {number for number, count in Counter(question.question_id for question in questions).items() if count > 1}


def _question(record: dict, answer_ids: str, problems: Problems, names: Mapping[str, str]) -> Question | None:
    """Return an annotation's question; `names` maps question ids to names. None, and a problem counted, for an
    annotation without answers in text."""
    answers, where = record.get("answers"), f"question {record['question_id']}"
    texts = answer_texts(answers)
    if not texts or not all(isinstance(text, str) for text in texts):
        return problems.add("annotation without answers in text (not scored)", f"{where}: {answers!r:.80}")
    return Question(
        question_id=str(record["question_id"]),
        image_id=_text(record.get("image_id")),
        answers=tuple(texts),
        answer_keys=None if answer_ids == "add" else answer_keys(answers),
        answer_type=_text(record.get("answer_type")),
        question_type=_text(record.get("question_type")),
        rephrasing_of=_text(record.get("rephrasing_of")),
        name=names.get(str(record["question_id"])),
    )


def answer_texts(answers: Any) -> list[Any]:
    """Return the texts of [{answer: …}, …] or […]; nothing for a value that is no list."""
    listed = answers if isinstance(answers, list) else []
    return [answer.get("answer") if isinstance(answer, dict) else answer for answer in listed]


def answer_keys(answers: Sequence[Any]) -> tuple[int, ...] | None:
    """Number what answers have beside their texts: equal numbers where the official code takes answers for the same.

    Returns None where every answer has an answer_id of its own, and for answers that are plain strings.
    """
    if not all(isinstance(answer, dict) for answer in answers):
        return None
    ids = [answer.get("answer_id") for answer in answers]
    if all(isinstance(number, (int, str)) for number in ids) and len(set(ids)) == len(ids):
        return None
    rests: list[dict] = []
    keys = []
    for answer in answers:
        rest = {name: value for name, value in answer.items() if name != "answer"}
        if rest not in rests:
            rests.append(rest)
        keys.append(rests.index(rest))
    return tuple(keys) if len(rests) < len(keys) else None


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


def _with_questions(annotated: list[Question], path: Path | str, problems: Problems) -> list[Question]:
    """Return the annotated questions with the `rephrasing_of` of their question file.

    Files that name the same questions in the same order are joined place by place, because a rephrasing may have the id
    of another question. Questions and annotations without a counterpart are counted.
    """
    found = objects(read_json(path, "questions"), "questions", path, problems, ("question_id",))
    numbers = [str(record["question_id"]) for record in found]
    if numbers == [question.question_id for question in annotated]:
        return [_as_rephrasing(question, record) for question, record in zip(annotated, found, strict=True)]
    # Where both files name the image it is part of the id, because edits share a question id.
    has_images = (question.image_id is not None for question in annotated)
    by_image = all(has_images) and all(record.get("image_id") is not None for record in found)
    records: dict[str, dict] = {}
    for number, record in zip(numbers, found, strict=True):
        full = f"{number}/{record['image_id']}" if by_image else number
        if full in records:
            problems.add("question twice in the question file", f"question {full}")
        records[full] = record
    result, met = [], set()
    for question in annotated:
        full = question.full_id if by_image else question.question_id
        met.add(full)
        if full not in records:
            problems.add("annotation without question (scored)", f"question {full}")
        result.append(_as_rephrasing(question, records.get(full, {})))
    for full in records:
        if full not in met:
            problems.add("question without annotation (not scored)", f"question {full}")
    return result


def _as_rephrasing(question: Question, record: dict) -> Question:
    """Return the question with what its record in the question file says it rephrases, and the name that follows."""
    if (original := _text(record.get("rephrasing_of"))) is None:
        return question
    return replace(question, rephrasing_of=original, name=f"{original}/{question.question_id}")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
