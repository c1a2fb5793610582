"""Reading of a set's part as records, from the official files or from the authors' lists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.garbage import no_garbage_collection
from digrap.core.problems import Problems
from digrap.data.vqa.author_lists import read_list
from digrap.data.vqa.official_files import Folder
from digrap.data.vqa.sets import SETS
from digrap.metrics.vqa.question import Question

SOURCES = ("official", "lists")


def read_set(
    root: Path, name: str, part: str, problems: Problems, source: str = "official", upright: bool = False
) -> list[Question]:
    """Return the records of a set's part in its file's order; faults are counted in `problems`.

    `upright`: the records of TextVQA say how far their pictures have to be turned. Raises DigrapError for an unknown
    set, part or source, and for files that are missing or damaged.
    """
    if name not in SETS:
        raise DigrapError(f"there is no VQA set {name!r}: choose one of {', '.join(SETS)}")
    if source not in SOURCES:
        raise DigrapError(f"dataset.source={source}: choose one of {', '.join(SOURCES)}")
    dataset = SETS[name]
    if part not in dataset.parts:
        raise DigrapError(f"{name} has no part {part!r}: choose one of {', '.join(dataset.parts)}")
    folder = Folder(Path(root), dataset, problems)
    with no_garbage_collection():
        records = (read_list if source == "lists" else dataset.read)(folder, part)
    if not records:
        cause, fix = problems.one_line(), folder.fix_whole(dataset.lists[part] if source == "lists" else "")
        raise DigrapError(f"{folder.root / name}: no question of {name} {part} could be read ({cause}); {fix}")
    if upright and dataset.turns:
        turns = dataset.turns(folder, (record.image_id for record in records))
        records = [replace(record, rotation=turns.get(record.image_id, 0)) for record in records]
    return records
