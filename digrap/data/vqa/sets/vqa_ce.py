"""VQA-CE (Dancette et al. 2021): VQAv2's validation questions that multi-modal shortcuts answer wrongly.

Address as in cdancette/detect-shortcuts.

Traps: its two files list question ids alone, so VQAv2's validation files are needed too; "easy" has no list and is the
rest of that validation set.
"""

from __future__ import annotations

from dataclasses import replace

from digrap.core.errors import DigrapError
from digrap.core.json_files import as_id
from digrap.data.vqa.official_files import Folder
from digrap.data.vqa.sets import _coco, vqav2
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.ids import Spellings
from digrap.metrics.vqa.question import Question

PAGE = "https://github.com/cdancette/detect-shortcuts"
SITE = f"{PAGE}/releases/download/v1.0/"
LISTED = ("counterexamples", "hard")


def read(folder: Folder, part: str) -> list[Question]:
    """Select VQAv2's validation questions, in its order, by counterexamples.json and hard.json."""
    listed = {name: _numbers(folder, f"{name}.json") for name in LISTED}
    every = vqav2.read(folder.of(vqav2.SET), "val")
    known = {record.question_id for record in every}
    spelled = Spellings(known)
    for name, numbers in listed.items():
        listed[name] = {spelled.find(number) or number for number in numbers}
        for number in sorted(listed[name] - known):
            where = f"{folder.find(f'{name}.json')}: {number}"
            folder.problems.add("listed id that is not a VQAv2 validation question", where)
    wanted = listed[part] if part in listed else known.difference(*listed.values())
    group = {"dataset": folder.dataset.name, "kind": folder.dataset.kind, "shift": folder.dataset.shift}
    return [replace(record, **group) for record in every if record.question_id in wanted]


def _numbers(folder: Folder, name: str) -> set[str]:
    """Return the question ids of a file. Raises DigrapError for a file that is not a list of them."""
    found = folder.load(name)
    numbers = [as_id(value) for value in found] if isinstance(found, list) else [None]
    if None in numbers:
        raise DigrapError(f"{folder.find(name)} is not a list of question ids; {folder.fix_whole(name)}")
    return set(map(str, numbers))


SET = VQASet(
    name="vqa_ce",
    title="VQA-CE",
    page=PAGE,
    kind="near_ood",
    shift="multi-modal",
    parts=("easy", "hard", "counterexamples"),
    images=_coco.IMAGES,
    lists={"counterexamples": "combined_data_subset.json"},
    read=read,
    files={
        "val": (
            *(Item(f"vqa_ce/{name}.json", PAGE, f"{SITE}{name}.json") for name in LISTED),
            *vqav2.SET.files["val"],
        )
    },
    vqav2_ids=True,
)
