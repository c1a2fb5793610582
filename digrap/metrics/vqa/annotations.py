"""What is scored: questions with their human answers, from the official VQA files or from wherever they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.json_files import entries as objects
from digrap.core.json_files import read_json
from digrap.core.problems import Problems

ANSWER_IDS = ("file", "add")
LACKING_IDS = "answers without unique answer_id: equal ones drop together; answer_ids=add tells them apart"


@dataclass(frozen=True)
class Entry:
    """A question to score. Ids are strings.

    `keys` number whatever beside the text tells the answers apart (metrics/vqa/accuracy.py); None: all are told apart.
    `rephrasing_of` is the id of the question that this one rephrases. `name` is a name that no other entry has, where
    `<question_id>/<image_id>` is none.
    """

    question_id: str
    image_id: str | None
    answers: tuple[str, ...]
    keys: tuple[int, ...] | None = None
    answer_type: str | None = None
    question_type: str | None = None
    rephrasing_of: str | None = None
    name: str | None = None

    @property
    def unique_id(self) -> str:
        """`name`, else `<question_id>/<image_id>`, which tells apart edits of one question."""
        return self.name or f"{self.question_id}/{self.image_id}"


def read_entries(
    annotations: Path | str, problems: Problems, questions: Path | str | None = None, answer_ids: str = "file"
) -> list[Entry]:
    """Entries in the order of an annotation file: {"annotations": [...]} or a bare list of VQA's annotations, or
    VizWiz's list, whose questions are named by their place or picture.

    `answer_ids`: "file" takes the answers as they are, so that answers without unique answer_id drop together in the
    leave-one-out; "add" tells all apart. A question file is held against the annotations and gives `rephrasing_of`;
    what does not fit goes into `problems`. Raises DigrapError for files that cannot be read as such.
    """
    check_answer_ids(answer_ids)
    data = read_json(annotations, "annotations")
    pictures = {}  # of VizWiz's form, which has no question_id: questions are named by their place, or by their picture
    for place, record in enumerate(data if isinstance(data, list) else ()):
        if isinstance(record, dict) and "question_id" not in record and "image" in record:
            record.update(question_id=place, image_id=record["image"])
            pictures[str(place)] = str(record["image"])
    found = objects(data, "annotations", annotations, problems, ("question_id",))
    made = (_entry(record, f"question {record['question_id']}", answer_ids, problems, pictures) for record in found)
    entries = [entry for entry in made if entry]
    if not entries:
        raise DigrapError(f"{annotations} has no annotation that can be scored ({problems.one_line()})")
    _tell(entries, problems)
    return entries if questions is None else _with_questions(entries, questions, problems)


def check_answer_ids(answer_ids: str) -> None:
    """Raise DigrapError for an unknown choice."""
    if answer_ids not in ANSWER_IDS:
        raise DigrapError(f"answer_ids={answer_ids}: choose one of {', '.join(ANSWER_IDS)}")


def repeated(entries: Iterable[Entry]) -> set[str]:
    """Question ids that several entries have."""
    return {name for name, count in Counter(entry.question_id for entry in entries).items() if count > 1}


def _entry(record: dict, where: str, answer_ids: str, problems: Problems, pictures: Mapping[str, str]) -> Entry | None:
    """An annotation's entry; `pictures` {question_id: name} are names of their own. None, and a problem counted, for an
    annotation without answers in text."""
    answers = record.get("answers")
    texts = answer_texts(answers)
    if not texts or not all(isinstance(text, str) for text in texts):
        return problems.add("annotation without answers in text (not scored)", f"{where}: {answers!r:.80}")
    return Entry(
        question_id=str(record["question_id"]),
        image_id=_text(record.get("image_id")),
        answers=tuple(texts),
        keys=None if answer_ids == "add" else answer_keys(answers),
        answer_type=_text(record.get("answer_type")),
        question_type=_text(record.get("question_type")),
        rephrasing_of=_text(record.get("rephrasing_of")),
        name=pictures.get(str(record["question_id"])),
    )


def answer_texts(answers: Any) -> list[Any]:
    """What stands as text in [{answer: …}, …] or […]; nothing for what is no list."""
    listed = answers if isinstance(answers, list) else []
    return [answer.get("answer") if isinstance(answer, dict) else answer for answer in listed]


def answer_keys(answers: Sequence[Any]) -> tuple[int, ...] | None:
    """Numbers for what an answer has beside its text: equal ones where the official code takes answers for the same.

    None where every answer has an answer_id of its own, and for answers that are plain strings.
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


def _tell(entries: list[Entry], problems: Problems) -> None:
    """What is odd in annotations and can still be scored."""
    for entry in entries:
        where = f"question {entry.question_id}"
        if entry.keys is not None:
            problems.add(LACKING_IDS, where)
        if entry.answer_type is None:
            problems.add("annotation without answer_type", where)
        if entry.question_type is None:
            problems.add("annotation without question_type", where)


def _with_questions(entries: list[Entry], path: Path | str, problems: Problems) -> list[Entry]:
    """The entries with `rephrasing_of`; questions and annotations that have no counterpart are counted.

    Files that name the same questions in the same order are taken place by place: a rephrasing's id may be another
    question's.
    """
    found = objects(read_json(path, "questions"), "questions", path, problems, ("question_id",))
    names = [str(record["question_id"]) for record in found]
    if names == [entry.question_id for entry in entries]:
        return [_rephrasing(entry, record) for entry, record in zip(entries, found, strict=True)]
    # The image is part of the name where both files say it: edits of one question share its id.
    by_image = all(entry.image_id is not None for entry in entries) and all(
        r.get("image_id") is not None for r in found
    )
    asked: dict[str, dict] = {}
    for name, record in zip(names, found, strict=True):
        name = f"{name}/{record['image_id']}" if by_image else name
        if name in asked:
            problems.add("question twice in the question file", f"question {name}")
        asked[name] = record
    result, met = [], set()
    for entry in entries:
        name = entry.unique_id if by_image else entry.question_id
        met.add(name)
        if name not in asked:
            problems.add("annotation without question (scored)", f"question {name}")
        result.append(_rephrasing(entry, asked.get(name, {})))
    for name in asked:
        if name not in met:
            problems.add("question without annotation (not scored)", f"question {name}")
    return result


def _rephrasing(entry: Entry, record: dict) -> Entry:
    """The entry as its question knows it: what it rephrases, and then a name of its own."""
    if (original := _text(record.get("rephrasing_of"))) is None:
        return entry
    return replace(entry, rephrasing_of=original, name=f"{original}/{entry.question_id}")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
