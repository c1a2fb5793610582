"""Base class of datasets whose splits are questions: pictures checked, leakage counted or left out, faults kept."""

from __future__ import annotations

import logging
from functools import cache, partial
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.splits import Split, check_kinds
from digrap.data.vqa.leakage import leakage_of_splits
from digrap.data.vqa.pictures import Questions, with_pictures
from digrap.metrics.vqa.accuracy import M4C_ANSWERS
from digrap.metrics.vqa.question import Question

log = logging.getLogger(__name__)
NO_ANSWER = "training question whose most frequent answer is empty (left out)"


class QuestionSplits:
    """Splits of questions; `kinds` maps the name of each to its kind. A subclass reads the records.

    `dataset` is the dataset's name. `strict`: the first fault of a file raises DigrapError. `check_pictures`: false
    where questions are only counted or scored and pictures may be missing. Raises DigrapError for options that are no
    booleans and for kinds that do not make a dataset.
    """

    dataset: str

    def __init__(self, root: Path, kinds: dict[str, str], strict: bool, check_pictures: bool):
        for name, value in (("strict", strict), ("check_pictures", check_pictures)):
            if not isinstance(value, bool):
                raise DigrapError(f"dataset.{name}={value}: give true or false")
        check_kinds(kinds.values())
        self.root, self.kinds, self.strict, self.check_pictures = root, kinds, strict, check_pictures
        self.problems: dict[str, Problems] = {}
        self.left_out: dict[str, list[Question]] = {}
        self.chosen = cache(self._chosen)

    def records(self, name: str, problems: Problems) -> list[Question]:
        """Return a split's questions as its files have them."""
        raise NotImplementedError

    def fix(self, name: str) -> str:
        """Return what to do where the split's pictures are missing."""
        raise NotImplementedError

    def clean(self) -> bool:
        """Return whether test questions about training pictures are left out."""
        return False

    def splits(self) -> dict[str, Split]:
        """Return the splits; each loads (picture, Question) pairs."""
        return {name: Split(name, kind, self.dataset, partial(self._load, name)) for name, kind in self.kinds.items()}

    @property
    def train(self) -> str:
        """The name of the training split."""
        return next(name for name, kind in self.kinds.items() if kind == "id_train")

    def about(self) -> dict[str, Any]:
        """Read all splits and return {training_questions, leaks: {split: counts}, problems: {split: {kind: …}}}."""
        found = leakage_of_splits({name: self.chosen(name) for name in self.kinds}, self.train)
        for name, counts in found["leaks"].items():
            counts["left_out"] = len(self.left_out[name])
        faults = {name: problems.summary() for name, problems in self.problems.items() if problems}
        return {**found, "problems": faults}

    def _load(self, name: str) -> Questions:
        records = self.chosen(name)  # before the faults and the left-out questions, which it finds
        dropped = {"no_answer": count} if (count := self.problems[name].counts.get(NO_ANSWER)) else {}
        return Questions(self.root, records, self.faults(name), self.left_out[name], dropped)

    def faults(self, name: str) -> dict[str, Problems]:
        """Return the problems of the files that the split is made of."""
        return {name: self.problems[name]}

    def keep_problems(self, name: str, problems: Problems) -> None:
        """Keep and log the problems of the files of `name`."""
        self.problems[name] = problems
        for line in problems.lines():
            log.warning("%s: %s", name, line)

    def _chosen(self, name: str) -> list[Question]:
        """Return the questions that a run sees. Raises DigrapError where there are none."""
        problems = Problems(self.strict)
        found = self.records(name, problems)
        if self.check_pictures:
            found = with_pictures(self.root, found, problems, self.fix(name))
        if name == self.train:
            found = _answered(found, problems)
        self.keep_problems(name, problems)
        if not found:
            raise DigrapError(f"split {name}: no question could be read ({problems.one_line()})")
        seen = set()
        if self.clean() and name != self.train:
            seen = {record.picture for record in self.chosen(self.train)}
        kept = [record for record in found if record.picture not in seen]
        gone = self.left_out[name] = [record for record in found if record.picture in seen]
        if gone:
            log.info(
                "%s: %d of %d questions left out: their picture is in the training set", name, len(gone), len(found)
            )
        if name != self.train and (short := sum(len(record.answers) != M4C_ANSWERS for record in kept)):
            log.warning("%s: no score by m4c, which needs ten answers: %d of %d questions have another number", name,
                        short, len(kept))  # fmt: skip
        if not kept:
            raise DigrapError(f"split {name}: training has the picture of each of its {len(found)} questions")
        return kept


def _answered(records: list[Question], problems: Problems) -> list[Question]:
    """The questions that there is something to train on for; the others are counted."""
    for record in (empty := [record for record in records if not record.target.strip()]):
        problems.add(NO_ANSWER, f"{record.dataset} question {record.id}")
    return [record for record in records if record.target.strip()] if empty else records
