"""What the official files have in common: JSON read with its faults named, questions paired with annotations."""

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
from digrap.data.vqa.facts import SETS, Facts
from digrap.data.vqa.record import Question
from digrap.metrics.vqa.annotations import answer_keys, answer_texts

TEN = 10
Entry = dict[str, Any]


class NotThere(DigrapError):
    """A file that is missing, where a damaged one is another matter."""


@dataclass(frozen=True)
class Folder:
    """Where one set's files lie under the root of all of them, and where its faults are counted."""

    root: Path
    facts: Facts
    problems: Problems

    def of(self, name: str) -> Folder:
        """Another set's, with the same root and the same count of problems."""
        return Folder(self.root, SETS[name], self.problems)

    def load(self, name: str) -> Any:
        """The JSON of the file `name` in the set's folder or, as archives unpack, deeper. Raises DigrapError where it
        is not there, there more than once, not UTF-8, or cut short."""
        return read_json(self.find(name), self.mend)

    def find(self, name: str) -> Path:
        """Where the file `name` of the set is."""
        folder = self.root / self.facts.name
        if (folder / name).is_file():
            return folder / name
        found = sorted(folder.rglob(name)) if folder.is_dir() else []
        if len(found) != 1:
            if not found:
                raise NotThere(f"{folder / name} is missing; {self.mend}")
            raise DigrapError(f"{folder / name} is there {len(found)} times: {found[0]}, {found[1]}; keep one")
        return found[0]

    @property
    def mend(self) -> str:
        """The command that brings what is missing or damaged."""
        return (
            f"`python scripts/download.py dataset={self.facts.name} data_root={self.root.parent}` fetches it or says "
            "where it comes from"
        )

    def pairs(self, questions: str, annotations: str) -> list[tuple[Entry, Entry]]:
        """Each question of one file with its annotation in another, in the questions' order.

        Files of the same length and ids are paired place by place, as they were written: ids may repeat there. Others
        by question and image id. What has no partner is counted as a problem and left out.
        """
        first = self.entries(questions, "questions", ("question_id", "question", "image_id"))
        second = self.entries(annotations, "annotations", ("question_id", "image_id", "answers"))
        return paired(first, second, self.problems, self.facts.title)

    def entries(self, name: str, key: str, needed: Sequence[str]) -> list[Entry]:
        """The objects of a file's list; see `digrap.core.json_files.entries`."""
        return reading.entries(self.load(name), key, name, self.problems, needed)

    def record(self, question: Entry, annotation: Entry, **given: Any) -> Question | None:
        """`make_record` with what is known of the set; what its reader knows better is `given`."""
        known = {"dataset": self.facts.name, "kind": self.facts.kind, "shift": self.facts.shift}
        if self.facts.numbered:
            known["origin"] = str(question["question_id"])
        return make_record(question, annotation, self.problems, f"{self.facts.title} question", **(known | given))

    def on_coco(self, question: Entry, annotation: Entry, split: str, **given: Any) -> Question | None:
        """The record of a question about a picture of COCO's train2014 or val2014."""
        number = coco_number(question["image_id"])
        if number is None:
            where = f"{self.facts.title} question {question['question_id']}: {question['image_id']!r:.80}"
            return self.problems.add("image id that is no number (left out)", where)
        image = f"images/coco/{split}/COCO_{split}_{number:012d}.jpg"
        return self.record(question, annotation, image=image, picture=f"coco:{number}", **given)


def make_record(question: Entry, annotation: Entry, problems: Problems, title: str, **given: Any) -> Question | None:
    """The record of a question and its annotation; what is `given` goes before what they say. None, and a problem
    counted, where there is no answer."""
    number = str(question["question_id"])
    where = f"{title} {number}"
    answers = checked_answers(annotation["answers"], problems, where)
    if not answers:
        return None
    values = {
        "id": number,
        "official_id": number,
        "question": question_text(question["question"], problems, where),
        "answers": answers,
        "answer_type": str(annotation.get("answer_type") or ""),
        "question_type": str(annotation.get("question_type") or ""),
        "image_id": str(question["image_id"]),
        "answer_keys": answer_keys(annotation["answers"]),
    }
    return Question(**(values | given))


def coco_number(value: Any) -> int | None:
    """COCO's number of a picture; None for what is none."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def read_json(path: Path, mend: str) -> Any:
    """A JSON file's value. Raises DigrapError, with what mends it, where it is missing, not UTF-8, or no whole JSON."""
    try:
        return reading.read_json(path, "JSON")
    except DigrapError as error:
        raise DigrapError(f"{error}; {mend}") from error


def paired(
    questions: list[Entry], annotations: list[Entry], problems: Problems, where: str
) -> list[tuple[Entry, Entry]]:
    """(question, annotation) in the questions' order; see `Folder.pairs`."""
    if [_key(entry) for entry in questions] == [_key(entry) for entry in annotations]:
        return list(zip(questions, annotations, strict=True))
    waiting: dict[tuple[str, str], list[Entry]] = defaultdict(list)
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


def _key(entry: Entry) -> tuple[str, str]:
    return str(entry["question_id"]), str(entry["image_id"])


def checked_answers(answers: Any, problems: Problems, where: str) -> tuple[str, ...]:
    """The texts of [{answer: …}] or […], as they are; faults are counted."""
    texts = answer_texts(answers)
    if not texts:
        problems.add("question without answers (left out)", where)
    elif len(texts) != TEN:
        problems.add("not ten answers", f"{where} has {len(texts)}")
    if any(not isinstance(text, str) for text in texts):
        problems.add("answer that is no text", where)
        texts = ["" if text is None else str(text) for text in texts]
    return tuple(map(sys.intern, texts))  # few are distinct: half the memory


def question_text(question: Any, problems: Problems, where: str) -> str:
    """The question as it is, "" for what is no text. One that asks nothing, or ends oddly, as some rephrasings do, is
    counted."""
    text = question if isinstance(question, str) else ""
    if not text.strip("?/ \t\n"):
        problems.add("empty question", where)
    elif text.rstrip().endswith("/"):
        problems.add("question that ends in /", where)
    return text


def unique(records: Iterable[Question | None], problems: Problems) -> list[Question]:
    """The records that are there, the first of each id; the others are counted as a problem."""
    found: dict[str, Question] = {}
    for record in records:
        if record is None:
            continue
        if found.setdefault(record.id, record) is not record:
            problems.add("duplicate id (the first is kept)", f"{record.dataset} question {record.id}")
    return list(found.values())
