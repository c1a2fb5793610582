"""Examples with their pictures: one per shift with the answers of several rows, and what a run got wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from digrap.core.errors import DigrapError
from digrap.report.gather import OOD, Run
from digrap.report.scores import Scores

RIGHT = 0.5  # an example with this score or more is called right
ROWS = 4  # beside each other
DIGRAP, ZERO_SHOT = "digrap", "zero_shot"


@dataclass(frozen=True)
class Example:
    """A test example: its picture as the bytes of a PNG or JPEG (`kind`), its width in pixels, its question (none where
    classes are told apart), its truth in words."""

    picture: bytes
    kind: str
    width: int
    question: str | None
    truth: str


class Reader(Protocol):
    """Reads test examples of a run. Both raise DigrapError where the data are not there."""

    def examples(self, run: Run, split: str, places: Sequence[int]) -> list[Example]:
        """The examples at places of a split's predictions."""

    def answer(self, run: Run, split: str, place: int) -> str:
        """What the run answered, in words."""


@dataclass(frozen=True)
class Answer:
    """What a row answered, and whether that is right."""

    row: str
    text: str
    right: bool
    score: float


@dataclass(frozen=True)
class Shown:
    """An example of a split with answers to it."""

    split: str
    kind: str
    example: Example
    answers: list[Answer]


def shifts(scores: Scores, reader: Reader) -> tuple[list[Shown], str]:
    """(one example a test split with the answers of zero-shot, baseline and DiGraP; what was left out and why)."""
    runs = _side_by_side(scores)
    if len(runs) < 2:
        return [], "There are no two rows with predictions of one seed."
    shown = []
    try:
        for split, kind in scores.source.splits.items():
            found = [run.example_scores(split, scores.table.scorer) for run in runs]
            place = telling(found)
            (example,) = reader.examples(runs[0], split, [place])
            answers = [
                Answer(run.row, reader.answer(run, split, place), values[place] >= RIGHT, float(values[place]))
                for run, values in zip(runs, found, strict=True)
            ]
            shown.append(Shown(split, kind, example, answers))
    except DigrapError as error:
        return shown, str(error)
    return shown, ""


def _side_by_side(scores: Scores) -> list[Run]:
    """Runs of one seed: zero-shot, the baseline, DiGraP."""
    method = {run.row: run.results.method for run in scores.runs}
    rows = [row for row in scores.table.rows if method.get(row) == ZERO_SHOT]
    rows += [row for row in scores.table.rows if row in method and row == scores.table.baseline_of(row)]
    rows += [row for row in scores.table.rows if method.get(row) == DIGRAP]
    for seed in scores.table.seeds:
        found = {run.row: run for run in scores.runs if run.seed == seed}
        if len(runs := [found[row] for row in dict.fromkeys(rows) if row in found]) > 1:
            same = [run for run in runs if run.bundle.truth == runs[0].bundle.truth]
            return same[:ROWS]
    return []


def telling(scores: Sequence[np.ndarray]) -> int:
    """The place at which the rows differ most: the last right and the one before it wrong, if there is such a place;
    among equals a fixed random one."""
    right = np.stack(scores) >= RIGHT
    wish = right.any(0).astype(int) + (~right).any(0) + (right[-1] & ~right[-2])
    order = np.random.default_rng(0).permutation(right.shape[1])
    return int(order[np.argmax(wish[order])])


def errors(run: Run, reader: Reader) -> tuple[list[Shown], str]:
    """(a wrong answer of each test split that has one, with its picture; what was left out and why)."""
    shown = []
    try:
        for split, entry in run.results.scores.items():
            if entry["kind"] not in ("id_test", *OOD):
                continue
            values = run.example_scores(split)
            order = np.random.default_rng(0).permutation(values.size)
            place = int(order[np.argmax(values[order] < RIGHT)])
            if values[place] >= RIGHT:
                continue
            (example,) = reader.examples(run, split, [place])
            answer = Answer(run.row, reader.answer(run, split, place), False, float(values[place]))
            shown.append(Shown(split, entry["kind"], example, [answer]))
    except DigrapError as error:
        return shown, str(error)
    return shown, ""
