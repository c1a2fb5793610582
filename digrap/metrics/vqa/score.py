"""Matching of predictions with the questions they answer, and their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.metrics.vqa.accuracy import accuracies, check_scorer
from digrap.metrics.vqa.annotations import repeated
from digrap.metrics.vqa.ids import respelled
from digrap.metrics.vqa.predictions import Prediction, by_id
from digrap.metrics.vqa.question import Question
from digrap.metrics.vqa.summary import report

SHARED = (
    "questions that share a question id, scored as the official code does: the last annotation of the id and one "
    "prediction for all; image_id tells edits apart, <rephrasing_of>/<question_id> rephrasings"
)
UNUSED = "prediction for a question id that several questions share, each with a prediction of its own (left out)"
PLACED = "doc_id, a place in the data set, for questions that have ids (left out)"
FIRST = 3  # ids that a message shows


@dataclass(frozen=True)
class Scored:
    """Scored questions: `accuracy` (n,) in 0..1 of `questions`, whose `predictions` are texts or None (scores 0)."""

    questions: list[Question]
    predictions: list[str | None]
    accuracy: np.ndarray

    def report(self) -> dict:
        """Return n, overall, per_answer_type and per_question_type (digrap.metrics.vqa.summary)."""
        answer_types = [question.answer_type for question in self.questions]
        return report(self.accuracy, answer_types, [question.question_type for question in self.questions])

    def rows(self) -> list[dict]:
        """Return one dict a question: its ids, the prediction and the accuracy in percent."""
        return [
            {"question_id": q.question_id, "image_id": q.image_id, "prediction": text, "accuracy": 100.0 * value}
            for q, text, value in zip(self.questions, self.predictions, self.accuracy.tolist(), strict=True)
        ]


def score(
    questions: Sequence[Question],
    predictions: Sequence[Prediction],
    scorer: str,
    problems: Problems,
    keep: str = "last",
) -> Scored:
    """Score the prediction of each question; a question without one scores 0 and is counted in `problems`.

    `keep` says which of several predictions with one id counts (digrap.metrics.vqa.predictions.KEEP). Raises
    DigrapError for an unknown scorer, for no questions, and for whatever `accuracies` refuses.
    """
    check_scorer(scorer)
    if not questions:
        raise DigrapError("there are no questions to score: give annotations")
    questions, texts = match(questions, predictions, problems, keep)
    keys = None if all(q.answer_keys is None for q in questions) else [q.answer_keys for q in questions]
    names = [question.question_id for question in questions]
    accuracy = accuracies([text or "" for text in texts], [q.answers for q in questions], scorer, keys, names)
    accuracy[[text is None for text in texts]] = 0.0
    return Scored(questions, texts, accuracy)


def match(
    questions: Sequence[Question], predictions: Sequence[Prediction], problems: Problems, keep: str = "last"
) -> tuple[list[Question], list[str | None]]:
    """Return each question as it is to be scored, and the text of its prediction or None.

    Ids are compared as strings, numbers without their leading zeros (`respelled`); a place in the data set (lmms-eval's
    doc_id) names only a question whose file has no ids. Where several questions share a question id (edits of one
    question), predictions with an image_id, or with `<question_id>/<image_id>` as their id, are told apart by it.
    Without either, each such question counts as the last one of its id, with the one prediction of that id, as in the
    official code, and is counted in `problems`. (Not copied: the official code normalises answers that are not all
    equal again for each question that shares them.) Missing, unknown, unused and duplicate predictions are counted.
    Raises DigrapError where no prediction belongs to any of the questions.
    """
    several = repeated(questions)
    groups = _divided(questions, respelled(questions, predictions), several, problems)
    full, plain = (by_id(group, problems, keep=keep) for group in groups)
    last = {question.question_id: question for question in questions}
    apart = {question.question_id for question in questions if question.full_id in full}
    # Of the questions that share an id, only one without a name has the plain id to itself.
    unnamed = Counter(question.question_id for question in questions if question.name is None)
    result, texts, seen, used = [], [], set(), set()
    for question in questions:
        number = question.question_id
        if question.full_id in seen:
            problems.add("annotation twice (both are scored)", f"question {question.full_id}")
        seen.add(question.full_id)
        text = full.get(question.full_id)
        if text is None and question.name and number in apart:  # an image_id does not tell rephrasings apart
            text = full.get(f"{number}/{question.image_id}")
        alone = question.name is None and unnamed[number] == 1
        if text is None and (alone or number not in apart):
            text = plain.get(number)
            used.add(number)
            if number in several and number not in apart:
                problems.add(SHARED, f"question {question.full_id}")
                question = last[number]
        if text is None:
            shown = question.full_id if number in several else number
            problems.add("question without prediction (scores 0)", f"question {shown}")
        result.append(question)
        texts.append(text)
    if predictions and all(text is None for text in texts):
        raise DigrapError(_nothing_fits(questions, predictions))
    for prediction in groups[1]:
        if prediction.question_id not in used:
            problems.add(UNUSED, prediction.where())
    return result, texts


def _nothing_fits(questions: Sequence[Question], predictions: Sequence[Prediction]) -> str:
    """Return the message for predictions none of which belongs to a question."""
    file = f" of {predictions[0].file}" if predictions[0].file else ""
    said, asked = (", ".join(entry.question_id for entry in entries[:FIRST]) for entries in (predictions, questions))
    cause = "are they of another set?"
    if any(entry.placed for entry in predictions) and not any(question.placed for question in questions):
        cause = "doc_id is a place in the data set, and these have ids: add question_id to the samples"
    return (
        f"none of the {len(predictions)} predictions{file} is for one of these {len(questions)} questions (the first "
        f"ids: {said} and {asked}): {cause}"
    )


def _divided(
    questions: Sequence[Question], predictions: Sequence[Prediction], several: set[str], problems: Problems
) -> tuple[list[Prediction], list[Prediction]]:
    """Divide the predictions into those that name one question in full, now by its `full_id`, and those that give a
    question id alone, as all for a question that shares neither do; one for an unknown question is counted and left
    out."""
    numbers, full_ids = {q.question_id for q in questions}, Counter(q.full_id for q in questions)
    placed = {q.question_id for q in questions if q.placed}
    alone = {q.full_id: q.question_id for q in questions if q.question_id not in several and full_ids[q.full_id] == 1}
    full: list[Prediction] = []
    plain: list[Prediction] = []
    for prediction in predictions:
        name = prediction.question_id
        in_full = name if name in full_ids and name not in numbers else f"{name}/{prediction.image_id}"
        if prediction.placed and name not in placed:
            problems.add(PLACED, prediction.where())
        elif name in numbers and (prediction.image_id is None or name not in several):
            plain.append(prediction)
        elif in_full in alone:
            plain.append(replace(prediction, question_id=alone[in_full]))
        elif in_full in full_ids:
            full.append(replace(prediction, question_id=in_full))
        else:
            problems.add(
                "prediction for an unknown question (left out)",
                prediction.where(in_full if name in numbers else name),
            )
    return full, plain
