"""Questions as a torch dataset, each with its picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.images import absent_files, read_picture, spelled_otherwise
from digrap.metrics.vqa.question import Question


class Questions(Dataset):
    """(PIL image in RGB, Question) items in the records' order; a picture is read when its item is taken.

    `faults` holds the problems of the files by their name, `left_out` the questions that the protocol leaves out,
    `dropped` counts by reason those that cannot be trained on.
    """

    def __init__(
        self,
        root: Path,
        records: list[Question],
        faults: Mapping[str, Problems] | None = None,
        left_out: Sequence[Question] = (),
        dropped: Mapping[str, int] | None = None,
    ):
        self.root, self.records, self.faults, self.left_out = str(root), records, dict(faults or {}), list(left_out)
        self.dropped = dict(dropped or {})

    read = staticmethod(read_picture)

    @property
    def files(self) -> list[str]:
        """The path of each question's picture."""
        return [f"{self.root}/{record.image}" for record in self.records]

    @property
    def ids(self) -> list[str]:
        """Names of the questions, for prediction bundles."""
        return [record.id for record in self.records]

    @property
    def lengths(self) -> list[int]:
        """Words of each question, for batches of questions alike in length."""
        return [len(record.question.split()) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Image.Image, Question]:
        record = self.records[index]
        image = read_picture(f"{self.root}/{record.image}")
        return (image.rotate(record.rotation, expand=True) if record.rotation else image), record


def with_pictures(root: Path, records: Iterable[Question], problems: Problems, fix: str) -> list[Question]:
    """Return the records whose picture exists, its accents as the disk has them; the others are counted. Raises
    DigrapError, which ends with `fix`, where no picture exists."""
    records = list(records)
    absent = set(absent_files(root, sorted({record.image for record in records})))
    if names := spelled_otherwise(root, absent):
        absent -= set(names)
        records = [replace(record, image=names.get(record.image, record.image)) for record in records]
    kept = [record for record in records if record.image not in absent]
    for image in sorted(absent):
        problems.add("missing picture", f"{Path(root) / image}")
    if records and not kept:
        which = "the only picture is" if len(absent) == 1 else f"all of the {len(absent)} pictures are"
        raise DigrapError(f"{Path(root) / records[0].image}: {which} missing; {fix}")
    if lost := len(records) - len(kept):
        problems.add("question whose picture is missing (left out)", f"{records[0].dataset}", lost)
    return kept
