"""The human answers of a question as files have them: their texts, and what tells equal ones apart.

Training and scoring read answers by these functions alone, so that both see the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from digrap.core.problems import Problems

NONE = "question without answers (left out)"
NO_TEXTS = 'question whose answers are not texts: ["…", …] or [{"answer": "…"}, …] (left out)'
NUMBERS = "answer that is a number (taken as text)"
WHOLE = 1e16  # from here on not every whole number is a float


def usable_answers(answers: Any, problems: Problems, where: str) -> tuple[str, ...]:
    """Return the texts of [{answer: …}, …] or […]; a number is taken as text (2 and 2.0 are "2") and counted.

    Returns () and counts a problem at the place `where` if there is no answer, or one that is neither text nor number.
    """
    given = answer_texts(answers)
    texts = [as_text(value) for value in given]
    if None in texts or answers and not texts:
        problems.add(NO_TEXTS, f"{where}: {answers!r:.80}")
        return ()
    if not texts:
        problems.add(NONE, where)
    elif any(not isinstance(value, str) for value in given):
        problems.add(NUMBERS, where)
    return tuple(texts)


def answer_texts(answers: Any) -> list[Any]:
    """Return the values of [{answer: …}, …] or […] as they are; nothing for a value that is not a list."""
    listed = answers if isinstance(answers, list) else []
    return [answer.get("answer") if isinstance(answer, dict) else answer for answer in listed]


def as_text(value: Any) -> str | None:
    """Return a text as it is and a finite number in digits; None for any other value of a JSON file."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int):
        return str(value)
    return str(int(value) if value.is_integer() and abs(value) < WHOLE else value) if math.isfinite(value) else None


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
