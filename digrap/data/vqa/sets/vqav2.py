"""VQAv2 (Goyal et al. 2017): the set in distribution, on COCO's pictures of 2014.

Traps: answers come normalised (lower case, digits for number words). Several other sets share its questions or its
pictures, so what trains on it may leak into their tests (digrap.data.vqa.leakage).
"""

from __future__ import annotations

from pathlib import Path

from digrap.core.problems import Problems
from digrap.data.vqa.official_files import Folder, unique
from digrap.data.vqa.sets import _coco
from digrap.data.vqa.vqa_set import Item, VQASet
from digrap.metrics.vqa.question import Question

PAGE = "https://visualqa.org/download.html"
SITE = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/"


def questions_file(part: str) -> str:
    """Return the name of a part's question file."""
    return f"v2_OpenEnded_mscoco_{part}2014_questions.json"


def annotations_file(part: str) -> str:
    """Return the name of a part's annotation file."""
    return f"v2_mscoco_{part}2014_annotations.json"


def _files(part: str) -> tuple[Item, ...]:
    end = f"_{part.title()}_mscoco.zip"
    names = {"Questions": questions_file(part), "Annotations": annotations_file(part)}
    return tuple(Item(f"vqav2/{name}", PAGE, f"{SITE}v2_{kind}{end}", name) for kind, name in names.items())


def read(folder: Folder, part: str) -> list[Question]:
    """Read v2_OpenEnded_mscoco_<part>2014_questions.json and v2_mscoco_<part>2014_annotations.json."""
    pairs = folder.pairs(questions_file(part), annotations_file(part))
    return unique((folder.on_coco(*pair, f"{part}2014") for pair in pairs), folder.problems)


SET = VQASet(
    name="vqav2",
    title="VQAv2",
    page=PAGE,
    kind="id",
    parts=("train", "val"),
    images=_coco.IMAGES,
    lists={"train": "vqa_train.json", "val": "vqa_val.json"},
    read=read,
    files={part: (*_files(part), pictures) for part, pictures in _coco.PICTURES.items()},
    fetched=("train", "val"),
    vqav2_ids=True,
)


def ids_in_order(root: Path, part: str, source: str = "official") -> list[str]:
    """Return the question ids in their file's order, those of faulty entries too: a sample is drawn by place in it.

    Raises DigrapError for a file that is missing, damaged or holds no list.
    """
    name = SET.lists[part] if source == "lists" else questions_file(part)
    folder = Folder(Path(root), SET, Problems())
    data = folder.load(name)
    folder.listed(data, name, "questions")  # raises an error where there is no such list
    found = data["questions"] if isinstance(data, dict) else data
    return [str(entry.get("question_id")) if isinstance(entry, dict) else "" for entry in found]
