"""Leakage of tests into training: questions and pictures that occur in both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from digrap.metrics.vqa.question import Question

APART = re.compile(r"[\W_]+")


def leakage(train: Iterable[Question], tests: Mapping[str, Iterable[Question]]) -> dict[str, dict[str, int]]:
    """Count, for each test split, its questions and pictures and how many of them occur in training.

    by_id: it is a training question, rephrases one, or asks one of an edited picture (`origin`). by_text: a training
    question about the same picture has the same words, case and punctuation apart. questions_leaked: either.
    pictures_leaked: distinct pictures, an edit counted as its original; questions_on_leaked_pictures: questions about
    them.
    """
    train = list(train)
    origins = {record.origin for record in train if record.origin}
    texts = {(words(record.question), record.picture) for record in train}
    pictures = {record.picture for record in train}
    return {name: _count(list(records), origins, texts, pictures) for name, records in tests.items()}


def leakage_of_splits(splits: Mapping[str, Iterable[Question]], train: str) -> dict[str, Any]:
    """Return {training_questions: count, leaks: `leakage` of the other splits into the split named `train`}."""
    tests = dict(splits)
    training = list(tests.pop(train))
    return {"training_questions": len(training), "leaks": leakage(training, tests)}


def _count(
    records: list[Question], origins: set[str], texts: set[tuple[str, str]], pictures: set[str]
) -> dict[str, int]:
    by_id = [record.origin in origins for record in records]  # None is not among them
    by_text = [(words(record.question), record.picture) in texts for record in records]
    seen = {record.picture for record in records}
    return {
        "questions": len(records),
        "by_id": sum(by_id),
        "by_text": sum(by_text),
        "questions_leaked": sum(map(any, zip(by_id, by_text, strict=True))),
        "pictures": len(seen),
        "pictures_leaked": len(seen & pictures),
        "questions_on_leaked_pictures": sum(record.picture in pictures for record in records),
    }


def words(text: str) -> str:
    """Return the words of a text in lower case, letters and digits only, with one space between them."""
    return APART.sub(" ", text.lower()).strip()


def leakage_table(found: Mapping[str, Mapping[str, Any]]):
    """Return the counts as a rich table, one line a split."""
    from rich.table import Table

    table = Table()
    titles = ("split", "questions", "by id", "by text", "questions leaked", "pictures", "pictures leaked", "left out")
    for title in titles:
        table.add_column(title, justify="left" if title == "split" else "right")
    for name, counts in found.items():
        keys = ("questions", "by_id", "by_text", "questions_leaked", "pictures", "pictures_leaked", "left_out")
        table.add_row(name, *(f"{counts.get(key, 0):,}" for key in keys))
    return table
