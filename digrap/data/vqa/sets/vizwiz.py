"""VizWiz (Gurari et al. 2018): questions that blind people asked about pictures they took.

Traps: questions have no ids, so the place in the file is the id and predictions may name the picture's file instead.
Answers have no answer_id, so the official scorers take equal answers of equal confidence for one and leave them out
together.
"""

from __future__ import annotations

from digrap.core.json_files import by_place
from digrap.data.vqa.official_files import Folder, unique
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.question import Question

PAGE = "https://vizwiz.org/tasks-and-datasets/vqa/"
SITE = "https://vizwiz.cs.colorado.edu/VizWiz_final/"
IMAGES = "images/vizwiz"


def _files(part: str, count: int | None = None) -> tuple[Item, ...]:
    name = f"{part}.json"
    return (
        Item(f"vizwiz/{name}", PAGE, f"{SITE}vqa_data/Annotations.zip", name),
        Item(f"{IMAGES}/{part}", PAGE, f"{SITE}images/{part}.zip", part, count=count),
    )


def read(folder: Folder, part: str) -> list[Question]:
    """Read <part>.json, a list of questions with their answers."""
    name, records = f"{part}.json", []
    for entry in folder.listed(by_place(folder.load(name)), name, "questions", ("image", "question", "answers")):
        if (file := folder.file_of(entry, "image")) is None:
            continue
        known = {"image": f"{IMAGES}/{part}/{file}", "picture": f"vizwiz:{file}", "name": file}
        records.append(folder.record(entry | {"image_id": file}, entry, **known))
    return unique(records, folder.problems, by_number=True)


SET = VQASet(
    name="vizwiz",
    title="VizWiz",
    page=PAGE,
    kind="far_ood",
    parts=("train", "val"),
    images=IMAGES,
    image_id_is_file=True,
    lists={"val": "combined_data.json"},
    read=read,
    files={"train": _files("train"), "val": _files("val", 4319)},
)
