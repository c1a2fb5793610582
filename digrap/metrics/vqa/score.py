"""Predictions and entries brought together: which answer belongs to which question, and what it scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.metrics.vqa.accuracy import accuracies, check_scorer
from digrap.metrics.vqa.annotations import Entry, repeated
from digrap.metrics.vqa.predictions import Prediction, by_id
from digrap.metrics.vqa.summary import report

SHARED = (
    "entries that share a question id, scored as the official code does: the last annotation of the id and one "
    "prediction for all; image_id tells edits apart, <rephrasing_of>/<question_id> rephrasings"
)


@dataclass(frozen=True)
class Scored:
    """`accuracy` (n,) in 0..1 of `entries` with their `predictions` (None: there was none, which scores 0)."""

    entries: list[Entry]
    predictions: list[str | None]
    accuracy: np.ndarray

    def report(self) -> dict:
        """n, overall, per_answer_type and per_question_type (digrap.metrics.vqa.summary)."""
        return report(self.accuracy, [e.answer_type for e in self.entries], [e.question_type for e in self.entries])

    def rows(self) -> list[dict]:
        """A dict a question: its ids, the prediction and the accuracy in percent."""
        return [
            {"question_id": e.question_id, "image_id": e.image_id, "prediction": said, "accuracy": 100.0 * value}
            for e, said, value in zip(self.entries, self.predictions, self.accuracy.tolist(), strict=True)
        ]


def score(
    entries: Sequence[Entry], predictions: Sequence[Prediction], scorer: str, problems: Problems, keep: str = "last"
) -> Scored:
    """Score each entry's prediction; an entry without one scores 0 and is counted in `problems`. `keep`: which of
    several predictions with one id counts (digrap.metrics.vqa.predictions.KEEP).

    Raises DigrapError for an unknown scorer, no entries, and what `accuracies` does not take.
    """
    check_scorer(scorer)
    if not entries:
        raise DigrapError("there are no questions to score: give annotations")
    entries, said = match(entries, predictions, problems, keep)
    keys = None if all(entry.keys is None for entry in entries) else [entry.keys for entry in entries]
    names = [entry.question_id for entry in entries]
    accuracy = accuracies([text or "" for text in said], [e.answers for e in entries], scorer, keys, names)
    accuracy[[text is None for text in said]] = 0.0
    return Scored(entries, said, accuracy)


def match(
    entries: Sequence[Entry], predictions: Sequence[Prediction], problems: Problems, keep: str = "last"
) -> tuple[list[Entry], list[str | None]]:
    """Each entry as it is to be scored, and its prediction or None.

    Ids are compared as strings. Where several entries share a question id (edits of one question), predictions with an
    image_id, or with `<question_id>/<image_id>` as their id, are told apart by it. Without, what the official code does
    is done and counted: each such entry counts as the last one of its id, with the one prediction of that id. (Not
    copied: the official code normalises answers that are not all equal anew for each entry that shares them.) Missing,
    unknown and duplicate predictions are counted. Raises DigrapError where no prediction belongs to any entry.
    """
    several = repeated(entries)
    groups = _by_name(entries, predictions, several, problems)
    of_edit, of_question = (by_id(group, problems, keep=keep) for group in groups)
    last = {entry.question_id: entry for entry in entries}
    apart = {entry.question_id for entry in entries if entry.unique_id in of_edit}
    # Of entries that share an id, one without a name of its own has the plain id to itself.
    unnamed = Counter(entry.question_id for entry in entries if entry.name is None)
    result, said, seen = [], [], set()
    for entry in entries:
        if entry.unique_id in seen:
            problems.add("annotation twice (both are scored)", f"question {entry.unique_id}")
        seen.add(entry.unique_id)
        answer = of_edit.get(entry.unique_id)
        if answer is None and entry.name and entry.question_id in apart:  # an image_id does not tell rephrasings apart
            answer = of_edit.get(f"{entry.question_id}/{entry.image_id}")
        alone = entry.name is None and unnamed[entry.question_id] == 1
        if answer is None and (alone or entry.question_id not in apart):
            answer = of_question.get(entry.question_id)
            if entry.question_id in several and entry.question_id not in apart:
                problems.add(SHARED, f"question {entry.unique_id}")
                entry = last[entry.question_id]
        if answer is None:
            shown = entry.unique_id if entry.question_id in several else entry.question_id
            problems.add("question without prediction (scores 0)", f"question {shown}")
        result.append(entry)
        said.append(answer)
    if predictions and all(text is None for text in said):
        raise DigrapError(
            f"none of the {len(predictions)} predictions is for one of these {len(entries)} questions (the first ids: "
            f"{predictions[0].question_id} and {entries[0].question_id}): are they of another set?"
        )
    return result, said


def _by_name(
    entries: Sequence[Entry], predictions: Sequence[Prediction], several: set[str], problems: Problems
) -> tuple[list[Prediction], list[Prediction]]:
    """Predictions for one of a question's several entries, with its unique id, and those for a question."""
    known, unique = {entry.question_id for entry in entries}, {entry.unique_id for entry in entries}
    of_edit: list[Prediction] = []
    of_question: list[Prediction] = []
    for prediction in predictions:
        name = prediction.question_id
        full = name if name in unique and name not in known else f"{name}/{prediction.image_id}"
        if name in known and (prediction.image_id is None or name not in several):
            of_question.append(prediction)
        elif full in unique:
            of_edit.append(replace(prediction, question_id=full))
        else:
            shown = full if name in known else name
            problems.add("prediction for an unknown question (left out)", f"question {shown}")
    return of_edit, of_question
