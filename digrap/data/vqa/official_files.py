"""Shared reading of official files: JSON with its faults named, questions paired with their annotations, records."""

from __future__ import annotations

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap.core import json_files as reading
from digrap.core.errors import DigrapError, Unreadable
from digrap.core.json_lines import read_json_or_lines
from digrap.core.problems import Problems
from digrap.data.vqa.vqa_set import VQASet
from digrap.metrics.vqa.answers import answer_keys, as_text, usable_answers
from digrap.metrics.vqa.ids import Spellings, plain, same_ids
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
            raise DigrapError(f"{folder / name} was found {len(found)} times: {found[0]}, {found[1]}; keep one")
        return found[0]

    def fix_of(self, name: str) -> str:
        """Return what fetches the file `name` ("": those of the set) that is missing or cannot be read to its end."""
        return f"{self.dataset.how_to_fetch(self.root, name)} or says where it comes from"

    def fix_whole(self, name: str) -> str:
        """Return what fetches the file `name` ("": those of the set) again, which is whole but holds something else."""
        return f"move {'it' if name else 'its files'} away, then {self.fix_of(name)}"

    def pairs(self, questions: str, annotations: str) -> list[tuple[Record, Record]]:
        """Pair each question of one file with its annotation in another, in the questions' order.

        Files of the same length and ids are paired place by place, as they were written: ids may repeat there. Others
        are paired by question and image id, numbers without their leading zeros. Whatever has no partner is counted as
        a problem and left out.
        """
        first = self.entries(questions, "questions", ("question_id", "question", "image_id"))
        second = self.entries(annotations, "annotations", ("question_id", "image_id", "answers"))
        return paired(first, second, self.problems, self.find(questions), self.find(annotations))

    def entries(self, name: str, key: str, needed: Sequence[str]) -> list[Record]:
        """Return the objects of a file's list; see `digrap.core.json_files.entries`."""
        return self.listed(self.load(name), name, key, needed)

    def listed(self, data: Any, name: str, key: str, needed: Sequence[str] = ()) -> list[Record]:
        """Return the objects of the list in `data`, the value of the file `name`; an error says what fetches it."""
        try:
            return reading.entries(data, key, self.find(name), self.problems, needed)
        except DigrapError as error:
            raise DigrapError(f"{error}; {self.fix_whole(name)}") from error

    def file_of(self, entry: Record, key: str) -> str | None:
        """Return what an entry calls its picture's file under `key`; None, and a problem counted, for a value that is
        neither text nor a number."""
        text = as_text(entry[key])
        if text is None:
            where = f"{self.dataset.title} question {entry['question_id']}: {key} {entry[key]!r:.80}"
            self.problems.add("image id that is neither text nor a number (left out)", where)
        return text

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
        for an image id that is not a number."""
        number = coco_number(question["image_id"])
        if number is None:
            where = f"{self.dataset.title} question {question['question_id']}: {question['image_id']!r:.80}"
            return self.problems.add("image id that is not a number (left out)", where)
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
        "placed": isinstance(question["question_id"], reading.Place),
        "answer_type": _type(annotation.get("answer_type")),
        "question_type": _type(annotation.get("question_type")),
        "image_id": sys.intern(str(question["image_id"])),
        "answer_keys": answer_keys(annotation["answers"]),
    } | given
    for key in ("image", "picture"):  # several questions share a picture: one copy of its names
        values[key] = sys.intern(values[key])
    return Question(**values)


def _type(value: Any) -> str | None:
    text = as_text(value)
    return sys.intern(text) if text else None


def coco_number(value: Any) -> int | None:
    """Return COCO's number of a picture; None for a value that is none."""
    text = as_text(value) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def read_json(path: Path, fix: str) -> Any:
    """Return a JSON file's value. Raises DigrapError where the file is missing, not UTF-8, or no whole JSON, with `fix`
    in place of the reader's own advice."""
    try:
        return read_json_or_lines(path, "JSON")
    except Unreadable as error:
        raise DigrapError(f"{error.fault}; {fix}") from error


def paired(
    questions: list[Record], annotations: list[Record], problems: Problems, question_file: Path, annotation_file: Path
) -> list[tuple[Record, Record]]:
    """Return (question, annotation) in the questions' order; see `Folder.pairs`. Messages name the two files."""
    first, second = list(map(_key, questions)), list(map(_key, annotations))
    if same_ids(first, second):
        return list(zip(questions, annotations, strict=True))
    waiting: dict[str, list[Record]] = defaultdict(list)
    for key, entry in zip(reversed(second), reversed(annotations), strict=True):
        waiting[key].append(entry)
    spelled, result = Spellings(waiting), []
    for key, entry in zip(first, questions, strict=True):
        if partners := waiting.get(spelled.find(key) or key):
            result.append((entry, partners.pop()))
        else:
            problems.add("question without annotation (left out)", f"{question_file}: question {_shown(entry)}")
    for rest in waiting.values():
        for entry in rest:
            problems.add("annotation without question (left out)", f"{annotation_file}: question {_shown(entry)}")
    return result


def _key(entry: Record) -> str:
    return f"{entry['question_id']}/{entry['image_id']}"


def asked(entry: Record) -> tuple[str, str]:
    """Return the id and the text of a question such that those of two files compare equal, however each writes them:
    without leading zeros, and with accents composed."""
    text = entry["question"]
    return plain(str(entry["question_id"])), unicodedata.normalize("NFC", text) if isinstance(text, str) else ""


def _shown(entry: Record) -> str:
    image = entry["image_id"]
    return f"{entry['question_id']} about image {image}" if image != "" else str(entry["question_id"])


def checked_answers(answers: Any, problems: Problems, where: str) -> tuple[str, ...]:
    """Return the texts of [{answer: …}] or […] (`usable_answers`); faults, and any number but ten, are counted."""
    texts = usable_answers(answers, problems, where)
    if texts and len(texts) != TEN:
        problems.add("not ten answers", f"{where} has {len(texts)}")
    return tuple(map(sys.intern, texts))  # few are distinct: this halves the memory of all records


def question_text(question: Any, problems: Problems, where: str) -> str:
    """Return the question as it is, "" for a value that is not a text. An empty question, and one that ends in "/" as
    some rephrasings do, is counted."""
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
