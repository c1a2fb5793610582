"""What the official files have in common: JSON read with its faults named, questions paired with annotations."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap import reading
from digrap.data.vqa.facts import SETS, Facts
from digrap.data.vqa.record import Question
from digrap.errors import DigrapError
from digrap.problems import Problems
from digrap.scorers.entries import answer_keys

TEN = 10
Entry = dict[str, Any]


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
            where = f"there {len(found)} times: {found[0]}, {found[1]}; keep one" if found else f"missing; {self.mend}"
            raise DigrapError(f"{folder / name} is {where}")
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
        first = self._entries(questions, "questions", ("question_id", "question", "image_id"))
        second = self._entries(annotations, "annotations", ("question_id", "image_id", "answers"))
        return paired(first, second, self.problems, self.facts.title)

    def _entries(self, name: str, key: str, needed: tuple[str, ...]) -> list[Entry]:
        return entries(self.load(name), key, needed, self.problems, name)

    def record(self, question: Entry, annotation: Entry, **given: Any) -> Question | None:
        """The record of a question and its annotation; what the set's own reader knows better is `given`. None, and a
        problem counted, where there is no answer."""
        title, number = self.facts.title, str(question["question_id"])
        answers = answer_texts(annotation["answers"], self.problems, f"{title} question {number}")
        if not answers:
            return None
        check_text(question["question"], self.problems, f"{title} question {number}")
        values = {
            "id": number,
            "official_id": number,
            "question": str(question["question"]),
            "answers": answers,
            "answer_type": str(annotation.get("answer_type") or ""),
            "question_type": str(annotation.get("question_type") or ""),
            "dataset": self.facts.name,
            "kind": self.facts.kind,
            "shift": self.facts.shift,
            "image_id": str(question["image_id"]),
            "answer_keys": answer_keys(annotation["answers"]),
            "origin": number if self.facts.numbered else "",
        }
        return Question(**(values | given))

    def on_coco(self, question: Entry, annotation: Entry, split: str, **given: Any) -> Question | None:
        """The record of a question about a picture of COCO's train2014 or val2014."""
        try:
            number = int(question["image_id"])
        except (TypeError, ValueError):
            where = f"{self.facts.title} question {question['question_id']}: {question['image_id']!r}"
            return self.problems.add("image id that is no number", where)
        image = f"images/coco/{split}/COCO_{split}_{number:012d}.jpg"
        return self.record(question, annotation, image=image, picture=f"coco:{number}", **given)


def read_json(path: Path, mend: str) -> Any:
    """A JSON file's value. Raises DigrapError, with what mends it, where it is missing, not UTF-8, or no whole JSON."""
    try:
        return reading.read_json(path, "JSON")
    except DigrapError as error:
        raise DigrapError(f"{error}; {mend}") from error


def entries(data: Any, key: str, needed: Sequence[str], problems: Problems, where: str) -> list[Entry]:
    """The list under `key`, or the bare list; entries without one of the `needed` keys are counted and left out."""
    found = data.get(key) if isinstance(data, dict) else data
    if not isinstance(found, list):
        has = f"keys {', '.join(map(str, data))}" if isinstance(data, dict) else f"a {type(data).__name__}"
        raise DigrapError(f"{where}: neither a list nor an object with {key}: […] ({has}); give the official file")
    whole = []
    for place, entry in enumerate(found):
        if isinstance(entry, dict) and all(name in entry for name in needed):
            whole.append(entry)
        else:
            lacks = [name for name in needed if name not in entry] if isinstance(entry, dict) else ["everything"]
            problems.add("entry that lacks a key", f"{where}, entry {place}: no {', '.join(lacks)}")
    return whole


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
            problems.add("question without annotation", f"{where} question {entry['question_id']}")
    for rest in waiting.values():
        for entry in rest:
            problems.add("annotation without question", f"{where} question {entry['question_id']}")
    return result


def _key(entry: Entry) -> tuple[str, str]:
    return str(entry["question_id"]), str(entry["image_id"])


def answer_texts(answers: Any, problems: Problems, where: str) -> tuple[str, ...]:
    """The texts of [{answer: …}] or […], as they are; faults are counted."""
    listed = answers if isinstance(answers, list) else []
    texts = [answer.get("answer") if isinstance(answer, dict) else answer for answer in listed]
    if not texts:
        problems.add("question without answers", where)
    elif len(texts) != TEN:
        problems.add("not ten answers", f"{where} has {len(texts)}")
    if any(not isinstance(text, str) for text in texts):
        problems.add("answer that is no text", where)
        texts = ["" if text is None else str(text) for text in texts]
    return tuple(map(sys.intern, texts))  # few are distinct: half the memory


def check_text(question: Any, problems: Problems, where: str) -> None:
    """Count a question that asks nothing, or that ends oddly, as some rephrasings do."""
    text = question.strip() if isinstance(question, str) else ""
    if not text.strip("?/ "):
        problems.add("empty question", where)
    elif text.endswith("/"):
        problems.add("question that ends in /", where)


def unique(records: Iterable[Question | None], problems: Problems) -> list[Question]:
    """The records that are there, the first of each id; the others are counted as a problem."""
    found: dict[str, Question] = {}
    for record in records:
        if record is None:
            continue
        if found.setdefault(record.id, record) is not record:
            problems.add("duplicate id", f"{record.dataset} question {record.id}")
    return list(found.values())
