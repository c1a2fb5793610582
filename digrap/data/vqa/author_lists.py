"""Reader of the list files of FRAMES-VQA's authors, in LAVIS's form: {question_id, question, answer, image, dataset}.

`answer` is the list of ten. They have no answer types and no question types.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from digrap.core.errors import DigrapError
from digrap.data.vqa.official_files import Folder, asked, unique
from digrap.metrics.vqa.question import Question

COCO_FILE = re.compile(r"COCO_\w+?_((\d{12})(?:_\d{12})?)\.jpg")


def read_list(folder: Folder, part: str) -> list[Question]:
    """Read the set's list file of a part, in its order, which the authors' sample follows.

    Raises DigrapError for a part without a list file, and for a file that is missing or damaged.
    """
    dataset = folder.dataset
    if part not in dataset.lists:
        has = ", ".join(dataset.lists)
        raise DigrapError(f"dataset.source=lists: the authors have no list of {dataset.name} {part} (only of {has})")
    name = dataset.lists[part]
    originals = dataset.originals(folder) if dataset.originals else {}
    records, alike = [], defaultdict(list)
    for entry in folder.entries(name, name, ("question_id", "question", "answer", "image")):
        number = str(entry["question_id"])
        if (image := folder.file_of(entry, "image")) is None:
            continue
        known = _picture(folder, number, image)
        if of := originals.get(asked(entry), ""):
            known |= {"name": f"{of}/{number}", "rephrasing_of": of}
        if originals:
            known["origin"] = of or number
        if dataset.originals:  # numbers repeat there, and names do where it is not known what is a rephrasing
            full, this = known.get("name") or number, (entry["question"], image)
            if this not in alike[full]:
                alike[full].append(this)
            if nth := alike[full].index(this):
                known["name"] = f"{full}/{nth + 1}"
        question = {"question_id": number, "question": entry["question"], "image_id": known.pop("image_id")}
        records.append(folder.record(question, {"answers": entry["answer"]}, **known))
    return unique(records, folder.problems, by_number=dataset.image_id_is_file)


def _picture(folder: Folder, number: str, image: str) -> dict[str, Any]:
    """Return `image`, `picture`, `image_id` and, of an edit or of VizWiz, `name` of the question about an image."""
    dataset, file = folder.dataset, image.rpartition("/")[2]
    known: dict[str, Any] = {"image": f"{dataset.images}/{image}"}
    if found := COCO_FILE.fullmatch(file):
        known |= {"picture": f"coco:{int(found[2])}", "image_id": str(int(found[2]))}
        if "_" in found[1]:
            known |= {"image_id": found[1], "name": f"{number}/{found[1]}"}
    else:
        known |= {"picture": f"{dataset.name}:{file}", "image_id": file.rpartition(".")[0]}
    if dataset.image_id_is_file:
        known |= {"image_id": file, "name": file}
    return known
