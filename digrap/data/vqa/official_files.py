"""Shared reading of official files: JSON with its faults named, questions paired with their annotations, records."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap.core import json_files as reading
from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.vqa.vqa_set import VQASet
from digrap.metrics.vqa.annotations import answer_keys, answer_texts
from digrap.metrics.vqa.question import Question

TEN = 10
Record = dict[str, Any]  # an object of a file


class FileMissing(DigrapError):
    """A file is missing, and not merely damaged."""


@dataclass(frozen=True)
class Folder:
    """The files of one set, under the root of all sets, and the count of their faults."""

    root: Path
    dataset: VQASet
    problems: Problems

    def of(self, other: VQASet) -> Folder:
        """Return another set's folder, with the same root and the same count of problems."""
        return Folder(self.root, other, self.problems)

    def load(self, name: str) -> Any:
        """Return the JSON value of the file `name`. Raises DigrapError where it is missing, there more than once, not
        UTF-8, or cut short."""
        return read_json(self.find(name), self.fix_of(name))

    def find(self, name: str) -> Path:
        """Return the path of the file `name` in the set's folder or, as archives unpack, deeper.

        Raises FileMissing where it is missing, DigrapError where several files have that name.
        """
        folder = self.root / self.dataset.name
        if (folder / name).is_file():
            return folder / name
        found = sorted(folder.rglob(name)) if folder.is_dir() else []
        if len(found) != 1:
            if not found:
                raise FileMissing(f"{folder / name} is missing; {self.fix_of(name)}")
            raise DigrapError(f"{folder / name} is there {len(found)} times: {found[0]}, {found[1]}; keep one")
        return found[0]

    def fix_of(self, name: str) -> str:
        """Return what fetches the file `name` ("": those of the set) that is missing or cannot be read to its end."""
        return f"`{self.dataset.download_command(self.root, name)}` fetches it or says where it comes from"

    def fix_whole(self, name: str) -> str:
        """Return what fetches the file `name` ("": those of the set) again, which is whole but holds something else."""
        return f"move {'it' if name else 'its files'} away, then {self.fix_of(name)}"

    def pairs(self, questions: str, annotations: str) -> list[tuple[Record, Record]]:
        """Pair each question of one file with its annotation in another, in the questions' order.

        Files of the same length and ids are paired place by place, as they were written: ids may repeat there. Others
        are paired by question and image id. Whatever has no partner is counted as a problem and left out.
        """
        first = self.entries(questions, "questions", ("question_id", "question", "image_id"))
        second = self.entries(annotations, "annotations", ("question_id", "image_id", "answers"))
        return paired(first, second, self.problems, self.dataset.title)

    def entries(self, name: str, key: str, needed: Sequence[str]) -> list[Record]:
        """Return the objects of a file's list; see `digrap.core.json_files.entries`."""
        return reading.entries(self.load(name), key, name, self.problems, needed)

    def record(self, question: Record, annotation: Record, **given: Any) -> Question | None:
        """Return `make_record` with the facts of the set; fields that the reader gives go before them."""
        number = str(question["question_id"])
        known = {"question_id": number, "dataset": self.dataset.name}
        known |= {"kind": self.dataset.kind, "shift": self.dataset.shift}
        if self.dataset.vqav2_ids:
            known["origin"] = number
        return make_record(question, annotation, self.problems, f"{self.dataset.title} question", **(known | given))

    def on_coco(self, question: Record, annotation: Record, split: str, **given: Any) -> Question | None:
        """Return the record of a question about a picture of COCO's train2014 or val2014; None, and a problem counted,
        for an image id that is no number."""
        number = coco_number(question["image_id"])
        if number is None:
            where = f"{self.dataset.title} question {question['question_id']}: {question['image_id']!r:.80}"
            return self.problems.add("image id that is no number (left out)", where)
        image = f"images/coco/{split}/COCO_{split}_{number:012d}.jpg"
        return self.record(question, annotation, image=image, picture=f"coco:{number}", **given)


def make_record(question: Record, annotation: Record, problems: Problems, title: str, **given: Any) -> Question | None:
    """Return the record of a question and its annotation; `given` fields go before those of the file.

    None, and a problem counted, where there is no answer.
    """
    number = str(question["question_id"])
    where = f"{title} {number}"
    answers = checked_answers(annotation["answers"], problems, where)
    if not answers:
        return None
    values = {
        "question_id": number,
        "question": question_text(question["question"], problems, where),
        "answers": answers,
        "answer_type": _type(annotation.get("answer_type")),
        "question_type": _type(annotation.get("question_type")),
        "image_id": sys.intern(str(question["image_id"])),
        "answer_keys": answer_keys(annotation["answers"]),
    } | given
    for key in ("image", "picture"):  # several questions share a picture: one copy of its names
        values[key] = sys.intern(values[key])
    return Question(**values)


def _type(value: Any) -> str | None:
    return sys.intern(str(value)) if value else None


def coco_number(value: Any) -> int | None:
    """Return COCO's number of a picture; None for a value that is none."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def read_json(path: Path, fix: str) -> Any:
    """Return a JSON file's value. Raises DigrapError, which ends with `fix`, where the file is missing, not UTF-8, or
    no whole JSON."""
    try:
        return reading.read_json(path, "JSON")
    except DigrapError as error:
        raise DigrapError(f"{error}; {fix}") from error


def paired(
    questions: list[Record], annotations: list[Record], problems: Problems, where: str
) -> list[tuple[Record, Record]]:
    """Return (question, annotation) in the questions' order; see `Folder.pairs`."""
    if [_key(entry) for entry in questions] == [_key(entry) for entry in annotations]:
        return list(zip(questions, annotations, strict=True))
    waiting: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for entry in reversed(annotations):
        waiting[_key(entry)].append(entry)
    result = []
    for entry in questions:
        if waiting.get(_key(entry)):
            result.append((entry, waiting[_key(entry)].pop()))
        else:
            problems.add("question without annotation (left out)", f"{where} question {entry['question_id']}")
    for rest in waiting.values():
        for entry in rest:
            problems.add("annotation without question (left out)", f"{where} question {entry['question_id']}")
    return result


def _key(entry: Record) -> tuple[str, str]:
    return str(entry["question_id"]), str(entry["image_id"])


def checked_answers(answers: Any, problems: Problems, where: str) -> tuple[str, ...]:
    """Return the texts of [{answer: …}] or […] as they are; faults are counted."""
    texts = answer_texts(answers)
    if not texts:
        problems.add("question without answers (left out)", where)
    elif len(texts) != TEN:
        problems.add("not ten answers", f"{where} has {len(texts)}")
    if any(not isinstance(text, str) for text in texts):
        problems.add("answer that is no text", where)
        texts = ["" if text is None else str(text) for text in texts]
    return tuple(map(sys.intern, texts))  # few are distinct: this halves the memory of all records


def question_text(question: Any, problems: Problems, where: str) -> str:
    """Return the question as it is, "" for a value that is no text. An empty question, and one that ends in "/" as some
    rephrasings do, is counted."""
    text = question if isinstance(question, str) else ""
    if not text.strip("?/ \t\n"):
        problems.add("empty question", where)
    elif text.rstrip().endswith("/"):
        problems.add("question that ends in /", where)
    return text


def unique(records: Iterable[Question | None], problems: Problems, by_number: bool = False) -> list[Question]:
    """Return the records that are not None, the first of each id; further ones are counted as a problem.

    `by_number` compares `question_id` in place of `id`: VizWiz may name one picture twice.
    """
    found: dict[str, Question] = {}
    for record in records:
        if record is None:
            continue
        if found.setdefault(record.question_id if by_number else record.id, record) is not record:
            problems.add("duplicate id (the first is kept)", f"{record.dataset} question {record.id}")
    return list(found.values())
