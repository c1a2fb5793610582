"""The ten sets by name: a set's part as records, from the official files or from the authors' lists."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.vqa.causal import read_edited
from digrap.data.vqa.facts import SETS
from digrap.data.vqa.formats import Folder
from digrap.data.vqa.lists import read_list
from digrap.data.vqa.others import read_advqa, read_okvqa, read_textvqa, read_vizwiz, rotations
from digrap.data.vqa.record import Question
from digrap.data.vqa.vqav2 import questions_file, read_ce, read_cp, read_rephrasings, read_vqav2

SOURCES = ("official", "lists")
READERS: dict[str, Callable[[Folder, str], list[Question]]] = {
    "vqav2": read_vqav2,
    "iv_vqa": read_edited,
    "cv_vqa": read_edited,
    "vqa_rephrasings": read_rephrasings,
    "vqa_cp": read_cp,
    "vqa_ce": read_ce,
    "advqa": read_advqa,
    "textvqa": read_textvqa,
    "vizwiz": read_vizwiz,
    "ok_vqa": read_okvqa,
}


def read_set(
    root: Path, name: str, part: str, problems: Problems, source: str = "official", upright: bool = False
) -> list[Question]:
    """The records of a set's part, in its file's order; faults are counted in `problems`.

    `upright`: TextVQA's records say how their pictures have to be turned. Raises DigrapError for a set, part or source
    that there is not, and for files that are missing or damaged.
    """
    if name not in SETS:
        raise DigrapError(f"there is no VQA set {name!r}: choose one of {', '.join(SETS)}")
    if source not in SOURCES:
        raise DigrapError(f"dataset.source={source}: choose one of {', '.join(SOURCES)}")
    if part not in SETS[name].parts:
        raise DigrapError(f"{name} has no part {part!r}: choose one of {', '.join(SETS[name].parts)}")
    folder = Folder(Path(root), SETS[name], problems)
    with _uncollected():
        records = (read_list if source == "lists" else READERS[name])(folder, part)
    if not records:
        raise DigrapError(f"{folder.root / name}: no question of {name} {part} could be read; {folder.mend}")
    if upright and name == "textvqa":
        turns = rotations(folder, (record.image_id for record in records))
        records = [replace(record, rotation=turns.get(record.image_id, 0)) for record in records]
    return records


def ids_in_order(root: Path, part: str, source: str = "official") -> list[str]:
    """VQAv2's question ids in its file's order, those of faulty entries too: a sample is drawn from places in it."""
    name = SETS["vqav2"].lists[part] if source == "lists" else questions_file(part)
    data = Folder(Path(root), SETS["vqav2"], Problems()).load(name)
    found = data.get("questions") if isinstance(data, dict) else data
    return [str(entry.get("question_id")) if isinstance(entry, dict) else "" for entry in found or ()]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: it would look again and again at millions of new objects, a third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
