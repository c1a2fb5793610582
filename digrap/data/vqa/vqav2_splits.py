"""The dataset vqav2: VQAv2 and its nine out-of-distribution sets as the splits of a run."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.paths import data_root_option
from digrap.core.problems import Problems
from digrap.data.splits import KINDS, DataModule
from digrap.data.vqa.protocols import LEAKY, Drawn, check, draw
from digrap.data.vqa.question_splits import QuestionSplits
from digrap.data.vqa.read_set import SOURCES, read_set
from digrap.data.vqa.sets import SETS
from digrap.data.vqa.sets.vqav2 import ids_in_order
from digrap.data.vqa.vqa_set import elsewhere
from digrap.metrics.vqa.question import Question

log = logging.getLogger(__name__)
ID_PARTS = {"id_train": "train", "id_val": "val", "id_test": "test"}


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    protocol: str = "clean",
    source: str = "official",
    train_share: float = 0.1,
    val_share: float = 0.1,
    undo_rotation: bool = False,
    strict: bool = False,
    check_pictures: bool = True,
) -> DataModule:
    """Return the splits of configs/dataset/vqav2.yaml: name → {set, kind}, and part where it is not the scored one.

    Nothing is read before a split's `load()`, which returns (picture, Question) pairs. Under protocol clean a test
    question whose picture occurs in training is left out and counted. `strict`: the first fault of a file is an error;
    else faults are counted, logged, and part of `about()`. Raises DigrapError for options that do not fit and for sets
    whose folder is missing.
    """
    check(protocol, train_share, val_share)
    if source not in SOURCES:
        raise DigrapError(f"dataset.source={source}: choose one of {', '.join(SOURCES)}")
    root = Path(root).expanduser()
    table = {name: _checked(name, options) for name, options in splits.items()}
    _check_folders(root, sorted({name for name, *_ in table.values()} | {"vqav2"}))
    questions = VQAv2Splits(
        root, table, protocol, source, (train_share, val_share), undo_rotation, strict, check_pictures
    )
    sample = "lists" if source == "lists" else "official-order"
    if (train_share, val_share) != (0.1, 0.1):
        sample += f", shares={train_share:g}/{val_share:g}"
    caveats = (LEAKY,) if protocol == "paper" else ()
    if protocol == "paper" and sample != "lists":
        caveats += (
            f"sample={sample}: the authors' is a tenth in the order of LAVIS's list files (dataset.source=lists)",
        )
    return DataModule(questions.splits(), (), f"{protocol}, sample={sample}", caveats, questions.about)


class VQAv2Splits(QuestionSplits):
    """The splits of a protocol; `table` maps their names to (set, part, kind). VQAv2's files are read once."""

    dataset = "vqav2"

    def __init__(
        self,
        root: Path,
        table: Mapping[str, tuple[str, str, str]],
        protocol: str,
        source: str,
        shares: tuple[float, float],
        upright: bool,
        *checks: bool,
    ):
        super().__init__(root, {name: kind for name, (_, _, kind) in table.items()}, *checks)
        self.table, self.protocol, self.source, self.shares, self.upright = table, protocol, source, shares, upright

    def fix(self, name: str) -> str:
        of, part, _ = self.table[name]
        return SETS[of].how_to_fetch(self.root, part=part)

    def records(self, name: str, problems: Problems) -> list[Question]:
        """Return a split's questions, before pictures are checked and leakage is left out."""
        of, part, kind = self.table[name]
        if kind not in ID_PARTS:
            return self._read(of, part, problems)
        found = []
        for number in dict.fromkeys(getattr(self._drawn, ID_PARTS[kind])):  # a repeated number is one question
            if number in self._vqav2:
                found.append(self._vqav2[number])
            else:
                problems.add("drawn question that could not be read (left out)", f"VQAv2 question {number}")
        return found

    def clean(self) -> bool:
        return self.protocol == "clean"

    def faults(self, name: str) -> dict[str, Problems]:
        trains = {"id_train": ("train", "val") if self.protocol == "paper" else ("train",)}
        parts = trains.get(self.kinds[name], ("val",)) if self.kinds[name] in ID_PARTS else ()
        return super().faults(name) | {key: self.problems[key] for key in (f"VQAv2 {part}" for part in parts)}

    @cached_property
    def _vqav2(self) -> dict[str, Question]:
        """VQAv2's records of train and val by question id."""
        result = {}
        for part in ("train", "val"):
            problems = Problems(self.strict)
            result |= {record.question_id: record for record in self._read("vqav2", part, problems)}
            self.keep_problems(f"VQAv2 {part}", problems)
        return result

    @cached_property
    def _drawn(self) -> Drawn:
        train, val = (ids_in_order(self.root, part, self.source) for part in ("train", "val"))
        drawn = draw(train, val, self.protocol, *self.shares)
        of_train, of_val = len(drawn.train), len(drawn.test) + len(drawn.val)
        if self.protocol == "paper":  # the test questions are validated on and trained on too
            of_train, of_val = of_train - len(drawn.test), len(drawn.test)
        log.info(
            "VQAv2: %d of %d training and %d of %d validation questions drawn (protocol=%s)",
            of_train, len(train), of_val, len(val), self.protocol,
        )  # fmt: skip
        return drawn

    def _read(self, of: str, part: str, problems: Problems) -> list[Question]:
        log.info("reading %s %s", SETS[of].title, part)
        return read_set(self.root, of, part, problems, self.source, self.upright)


def _checked(name: str, options: Mapping[str, str] | None) -> tuple[str, str, str]:
    """Return (set, part, kind) of a split's options. Raises DigrapError for options that do not fit."""
    if not options:
        raise DigrapError(f"dataset.splits.{name}={options}: '~dataset.splits.{name}' leaves a set out")
    of, kind = options.get("set"), options.get("kind")
    if of not in SETS or kind not in KINDS or not set(options) <= {"set", "part", "kind"}:
        raise DigrapError(
            f"dataset.splits.{name}={dict(options)}: give set, one of {', '.join(SETS)}; kind, one of "
            f"{', '.join(KINDS)}; and part where it is not the scored one"
        )
    if kind in ID_PARTS and (of != "vqav2" or "part" in options):
        raise DigrapError(f"dataset.splits.{name}={dict(options)}: kind={kind} is VQAv2's, as the protocol divides it")
    return of, options.get("part", SETS[of].scored_part), kind


def _check_folders(root: Path, names: list[str]) -> None:
    """Raise DigrapError naming all sets whose folder is missing or has no file."""
    if absent := [name for name in names if not any(path.is_file() for path in (root / name).rglob("*"))]:
        words = [f"dataset={absent[0] if len(absent) == 1 else 'vqa_all'}", *data_root_option(root.parent)]
        raise DigrapError(
            f"dataset=vqav2: no files under {root} of {', '.join(absent)}. `python scripts/download.py "
            f"{shlex.join(words)}` fetches them{elsewhere(root)} or says where they come from; data_root=… points "
            "elsewhere; '~dataset.splits.<name>' leaves a set out"
        )
