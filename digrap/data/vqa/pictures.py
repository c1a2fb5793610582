"""Records as a dataset: each with its picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.images import absent_files, read_picture
from digrap.data.vqa.record import Question


class Questions(Dataset):
    """(PIL image in RGB, record) in the records' order; pictures are read when asked for.

    `faults` says what was wrong with the files, by name; `left_out` are the questions that a protocol does without.
    """

    def __init__(
        self,
        root: Path,
        records: list[Question],
        faults: Mapping[str, Problems] | None = None,
        left_out: Sequence[Question] = (),
    ):
        self.root, self.records, self.faults, self.left_out = str(root), records, dict(faults or {}), list(left_out)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Image.Image, Question]:
        record = self.records[index]
        image = read_picture(f"{self.root}/{record.image}")
        return (image.rotate(record.rotation, expand=True) if record.rotation else image), record


def with_pictures(root: Path, records: Iterable[Question], problems: Problems, mend: str) -> list[Question]:
    """The records whose picture is there; the others are counted. Raises DigrapError where none is."""
    records = list(records)
    absent = set(absent_files(root, sorted({record.image for record in records})))
    there = [record for record in records if record.image not in absent]
    for image in sorted(absent):
        problems.add("missing picture", f"{Path(root) / image}")
    if records and not there:
        raise DigrapError(f"{Path(root) / records[0].image}: none of the {len(absent)} pictures is there; {mend}")
    if lost := len(records) - len(there):
        problems.add("question left out for want of its picture", f"{records[0].dataset}", lost)
    return there
