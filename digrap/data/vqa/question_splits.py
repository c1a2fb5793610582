"""What every set of question splits shares: pictures looked for, leaks counted or left out, faults told."""

from __future__ import annotations

import logging
from functools import cache, partial
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.splits import Split, check_kinds
from digrap.data.vqa.leakage import compared
from digrap.data.vqa.pictures import Questions, with_pictures
from digrap.data.vqa.record import Question

log = logging.getLogger(__name__)


class QuestionSplits:
    """Splits of questions by name: `kinds` maps each to its kind. A subclass reads the records, and has the dataset's
    name.

    `check_pictures`: false where questions are only counted or scored, and no picture need be there.
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
        """A split's questions, as its files have them."""
        raise NotImplementedError

    def mend(self, name: str) -> str:
        """What brings the split's pictures."""
        raise NotImplementedError

    def clean(self) -> bool:
        """Whether test questions about training pictures are left out."""
        return False

    def splits(self) -> dict[str, Split]:
        """Each loads (picture, Question) pairs."""
        return {name: Split(name, kind, self.dataset, partial(self._load, name)) for name, kind in self.kinds.items()}

    @property
    def train(self) -> str:
        """The name of the training split."""
        return next(name for name, kind in self.kinds.items() if kind == "id_train")

    def about(self) -> dict[str, Any]:
        """{leaks: {split: counts}, problems: {split: {kind: {count, first}}}} of all splits, which it reads."""
        found = compared({name: self.chosen(name) for name in self.kinds}, self.train)
        for name, counts in found["leaks"].items():
            counts["left_out"] = len(self.left_out[name])
        faults = {name: problems.summary() for name, problems in self.problems.items() if problems}
        return {**found, "problems": faults}

    def _load(self, name: str) -> Questions:
        records = self.chosen(name)  # first: it notes the faults, and what is left out
        return Questions(self.root, records, self.faults(name), self.left_out[name])

    def faults(self, name: str) -> dict[str, Problems]:
        """What was wrong with the files that the split is made of."""
        return {name: self.problems[name]}

    def noted(self, name: str, problems: Problems) -> None:
        """Keep what was wrong with the files of `name`, and log it."""
        self.problems[name] = problems
        for line in problems.lines():
            log.warning("%s: %s", name, line)

    def _chosen(self, name: str) -> list[Question]:
        """The questions that a run sees."""
        problems = Problems(self.strict)
        found = self.records(name, problems)
        if self.check_pictures:
            found = with_pictures(self.root, found, problems, self.mend(name))
        self.noted(name, problems)
        if not found:
            raise DigrapError(f"split {name}: no question could be read ({problems.one_line()})")
        seen = set()
        if self.clean() and name != self.train:
            seen = {record.picture for record in self.chosen(self.train)}
        kept = [record for record in found if record.picture not in seen]
        gone = self.left_out[name] = [record for record in found if record.picture in seen]
        if gone:
            log.info("%s: %d of %d questions left out: training has their picture", name, len(gone), len(found))
        if not kept:
            raise DigrapError(f"split {name}: training has the picture of each of its {len(found)} questions")
        return kept
