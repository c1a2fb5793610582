"""Consistency over questions that belong together: rephrasings of a question, and edits of its image.

VQA-Rephrasings: Shah, Chen, Rohrbach, Parikh: Cycle-Consistency for Robust Visual Question Answering, CVPR 2019 (arXiv
1902.05660). A wording counts as right when its VQA accuracy is above 0, as in two public implementations of the
paper's consensus score; this was not compared with the paper's own text.

IV-VQA and CV-VQA: Agarwal, Shetty, Fritz: Towards Causal VQA, CVPR 2020 (arXiv 1912.07538); counted as in its
repository's flip_accuracy_cal_{iv,cv}_vqa.ipynb (AgarwalVedika/CausalVQA@78bf9bd) but for what `flips` says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb, fsum
from typing import Any

import numpy as np

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.metrics.vqa.ids import plain
from digrap.metrics.vqa.question import Question
from digrap.metrics.vqa.text import clean, normalise

EDITS = ("iv", "cv")
TRANSITIONS = ("pos_neg", "neg_pos", "neg_neg", "pos_pos")
LARGEST = 4  # k of the consensus scores
INTEGER = re.compile(r"-?[0-9]{1,18}")


def consistency(questions: Sequence[Question], accuracy: np.ndarray, problems: Problems) -> dict[str, Any]:
    """Measure how far rephrasings are answered alike; a wording is right where its `accuracy` (n,) is above 0.

    A group is an original with its rephrasings. Returns groups, wordings ({size: groups}), all_right (percent of the
    groups with every wording right) and consensus {k: {groups, score}} for k = 1..4: the share of a group's subsets of
    k wordings that are all right, mean in percent over the groups with k wordings or more (None: there are none).
    Questions in no group are in no number but counted in `problems`, as are rephrasings without their original, which
    still make a group. Raises DigrapError if there is no rephrasing.
    """
    groups = rephrasing_groups(questions, problems)
    right = [(len(places), int(np.count_nonzero(accuracy[places] > 0))) for places in groups.values()]
    sizes = sorted({size for size, _ in right})
    scores = {}
    for k in range(1, LARGEST + 1):
        shares = [comb(hits, k) / comb(size, k) for size, hits in right if size >= k]
        scores[str(k)] = {"groups": len(shares), "score": 100.0 * fsum(shares) / len(shares) if shares else None}
    return {
        "groups": len(right),
        "wordings": {str(size): sum(other == size for other, _ in right) for size in sizes},
        "all_right": 100.0 * sum(size == hits for size, hits in right) / len(right),
        "consensus": scores,
    }


def rephrasing_groups(questions: Sequence[Question], problems: Problems) -> dict[str, list[int]]:
    """Return {original's id, without leading zeros: places of it and its rephrasings}, for originals with rephrasings.

    Originals without rephrasings, and rephrasings without their original, are counted in `problems`. Raises DigrapError
    if there is no rephrasing.
    """
    groups: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        if question.rephrasing_of is not None:
            groups.setdefault(plain(question.rephrasing_of), []).append(place)
    if not groups:
        raise DigrapError("no question has rephrasing_of: give the question file of VQA-Rephrasings as questions=")
    originals = set()
    for place, question in enumerate(questions):
        if question.rephrasing_of is None:
            if (name := plain(question.question_id)) in groups:
                groups[name].insert(0, place)
                originals.add(name)
            else:
                problems.add("question without rephrasings (in no group)", f"question {question.question_id}")
    for name in groups:
        if name not in originals:
            problems.add("rephrasings without their original (still a group)", f"question {name}")
    return groups


def flips(
    questions: Sequence[Question],
    predictions: Sequence[str | None],
    originals: Mapping[str, str],
    edit: str,
    problems: Problems,
) -> dict[str, Any]:
    """Compare predictions on edited images (n,) with those on the originals, {question id: answer}.

    Every edit is compared with its original, however many edits the original has. Texts are compared as the VQA scorers
    normalise them in full (the notebooks compare labels of a fixed vocabulary). Right: equal to one of the edit's
    answers; under "cv" the original is right where it is the edit's answer plus one.

    edit="iv" (the answer should stay): consistent is an answer that did not change. edit="cv" (one counted object is
    gone): consistent is an integer one below the original's. `edit_not_a_number` counts the edits whose prediction is
    not an integer; they are flipped here, while the notebook takes them out of its flips (and keeps them in its n).

    Returns edit, n (edits), compared, without_edit and without_original (no prediction: not compared, and counted in
    `problems`), originals_without_edit, and of the compared ones consistent and flipped as {count, percent,
    transitions}: pos_neg is right on the original and wrong on the edit. Raises DigrapError for an unknown edit, for
    answers of a "cv" question that are no integer, and when nothing can be compared.
    """
    if edit not in EDITS:
        raise DigrapError(f"edit={edit}: choose one of {', '.join(EDITS)}")
    counts: Counter[tuple[str, str]] = Counter()
    missing = {"without_edit": 0, "without_original": 0}
    not_numbers = 0
    for question, after in zip(questions, predictions, strict=True):
        before = originals.get(question.question_id)
        if after is None:
            missing["without_edit"] += 1
            problems.add("edit without prediction (not compared)", f"question {question.full_id}")
        if before is None:
            missing["without_original"] += 1
            problems.add("edit whose original has no prediction (not compared)", f"question {question.full_id}")
        if after is None or before is None:
            continue
        stays = normalise(before) == normalise(after) if edit == "iv" else _one_less(before, after)
        not_numbers += integer(after) is None
        right = _right_before(question, before, edit), _right(question, after)
        counts["consistent" if stays else "flipped", "_".join("pos" if yes else "neg" for yes in right)] += 1
    compared = counts.total()
    if not compared:
        raise DigrapError("no edit has a prediction on it and on its original: check the files' question ids")
    edited = {question.question_id for question in questions}
    result: dict[str, Any] = {"edit": edit, "n": len(questions), "compared": compared, **missing}
    result["originals_without_edit"] = sum(name not in edited for name in originals)
    for kind in ("consistent", "flipped"):
        parts = {name: counts[kind, name] for name in TRANSITIONS}
        result[kind] = {
            **_share(sum(parts.values()), compared),
            "transitions": {name: _share(count, compared) for name, count in parts.items()},
        }
    if edit == "cv":
        result["edit_not_a_number"] = _share(not_numbers, compared)
    return result


def integer(text: str) -> int | None:
    """Return the integer that an answer is, in digits or as a number word up to ten; None for any other answer."""
    for form in (clean(text), normalise(text)):  # clean keeps a minus, which normalise removes as punctuation
        if INTEGER.fullmatch(form):
            return int(form)
    return None


def _one_less(before: str, after: str) -> bool:
    first, second = integer(before), integer(after)
    return first is not None and second is not None and second == first - 1


def _right(question: Question, text: str) -> bool:
    return normalise(text) in map(normalise, question.answers)


def _right_before(question: Question, text: str, edit: str) -> bool:
    if edit == "iv":
        return _right(question, text)
    numbers = [integer(answer) for answer in question.answers]
    if None in numbers:
        answer = question.answers[numbers.index(None)]
        raise DigrapError(
            f"question {question.full_id} has the answer {answer!r}, which is not an integer: did you mean edit=iv?"
        )
    return integer(text) in [number + 1 for number in numbers]


def _share(count: int, of: int) -> dict[str, Any]:
    return {"count": count, "percent": 100.0 * count / of}
