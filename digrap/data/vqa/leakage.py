"""Leakage of tests into training: questions and pictures that occur in both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from digrap.metrics.vqa.ids import plain
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
    origins = {plain(record.origin) for record in train if record.origin}
    texts = {(words(record.question), _picture(record)) for record in train}
    pictures = {_picture(record) for record in train}
    return {name: _count(list(records), origins, texts, pictures) for name, records in tests.items()}


def leakage_of_splits(splits: Mapping[str, Iterable[Question]], train: str) -> dict[str, Any]:
    """Return {training_questions: count, leaks: `leakage` of the other splits into the split named `train`}."""
    tests = dict(splits)
    training = list(tests.pop(train))
    return {"training_questions": len(training), "leaks": leakage(training, tests)}


def _count(
    records: list[Question], origins: set[str], texts: set[tuple[str, str]], pictures: set[str]
) -> dict[str, int]:
    seen_in = [_picture(record) for record in records]
    by_id = [record.origin is not None and plain(record.origin) in origins for record in records]
    asked = [words(record.question) for record in records]
    by_text = [bool(text) and (text, seen) in texts for text, seen in zip(asked, seen_in, strict=True)]
    seen = set(seen_in)
    return {
        "questions": len(records),
        "by_id": sum(by_id),
        "by_text": sum(by_text),
        "questions_leaked": sum(map(any, zip(by_id, by_text, strict=True))),
        "pictures": len(seen),
        "pictures_leaked": len(seen & pictures),
        "questions_on_leaked_pictures": sum(picture in pictures for picture in seen_in),
    }


def words(text: str) -> str:
    """Return the words of a text in lower case, letters, their marks and digits only, with one space between them.

    A letter with an accent is one, however the file writes it (Unicode's NFC). A text without words is itself, but for
    spaces, so that "?" is not "!"; an empty one is "", the same as no other.
    """
    text = unicodedata.normalize("NFC", text).lower()
    apart = APART.sub(" ", text) if text.isascii() else _with_marks(text)
    return " ".join(apart.split()) or "".join(text.split())


def _with_marks(text: str) -> str:
    """Return the text with a space for each character but letters, digits, and the marks on them that NFC leaves apart
    (the vowels of Hindi, for example)."""
    kept: list[str] = []
    for letter in text:
        on_letter = bool(kept) and kept[-1] != " " and unicodedata.category(letter).startswith("M")
        kept.append(letter if letter.isalnum() or on_letter else " ")
    return "".join(kept)


def _picture(record: Question) -> str:
    return unicodedata.normalize("NFC", record.picture)


def leakage_table(found: Mapping[str, Mapping[str, Any]]):
    """Return the counts as a rich table, one line per split."""
    from rich.table import Table

    table = Table()
    titles = ("split", "questions", "by id", "by text", "questions leaked", "pictures", "pictures leaked", "left out")
    for title in titles:
        table.add_column(title, justify="left" if title == "split" else "right")
    for name, counts in found.items():
        keys = ("questions", "by_id", "by_text", "questions_leaked", "pictures", "pictures_leaked", "left_out")
        table.add_row(name, *(f"{counts.get(key, 0):,}" for key in keys))
    return table
