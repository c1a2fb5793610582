"""DomainNet-oVQA: DomainNet's pictures, each with one open question whose answer is the class's name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError
from digrap.data.domainnet import build as build_domainnet
from digrap.data.domainnet.dataset import PART_OF_KIND, ListedPictures
from digrap.data.domainnet.lists import Entry, Lists, check_labels, class_names, parse, spoken
from digrap.data.splits import DataModule, Split
from digrap.data.vqa.leakage import leakage_of_splits
from digrap.data.vqa.official_files import read_json
from digrap.metrics.vqa.question import Question, kind_of_questions

log = logging.getLogger(__name__)
NAME = "domainnet_ovqa"
QUESTION = "What is in the image?"
ANSWERS = 10  # equal ones: VQA's scorers expect the answers of ten people
CLASS_KEY = "clip_bench_label"
FILES = {"train": "{}_train_split.json", "val": "{}_val_split.json", "test": "{}_test.json"}
FIX = "dataset.annotations=null uses DomainNet's lists"


class Source(Protocol):
    """Source of entries: the lists or the authors' files. `classes` are names as text, in label order."""

    classes: tuple[str, ...]

    def read(self, domain: str, part: str) -> list[Entry]:
        """Return the entries of a domain's train, val or test part, in their order."""


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, Any]],
    version: str = "original",
    lists: str | Path | None = None,
    annotations: str | Path | None = None,
    question: str = QUESTION,
) -> DataModule:
    """Build the splits of configs/dataset/domainnet_ovqa.yaml from the images under `root`: (PIL image, Question).

    Arguments are those of `digrap.data.domainnet.build`; `annotations` is a folder with the authors' JSON files, which
    replace the lists. Raises DigrapError for missing folders, lists, files or images.
    """
    # Folders and splits are DomainNet's, whose builder checks them.
    checked = build_domainnet(root, splits, *(() if annotations else (version, lists)))
    source = open_source(root, splits, version, lists, annotations)
    result = {}
    for name, split in checked.splits.items():
        load = partial(_load, source, Path(root).expanduser(), splits[name]["domain"], split.kind, question)
        result[name] = Split(name, split.kind, NAME, cache(load))  # `about` and the run read each split
    return DataModule(result, source.classes, about=partial(_about, result))


def _about(splits: Mapping[str, Split]) -> dict[str, Any]:
    """Return how much of the tests is in training. All share one question, so only pictures count."""
    (train,) = (name for name, split in splits.items() if split.kind == "id_train")
    return {**leakage_of_splits({name: split.load().records for name, split in splits.items()}, train), "problems": {}}


def open_source(
    root: str | Path,
    splits: Mapping[str, Mapping[str, Any]],
    version: str = "original",
    lists: str | Path | None = None,
    annotations: str | Path | None = None,
) -> Source:
    """Return the source of entries; no image is looked for. Raises DigrapError like `build`."""
    if annotations:
        if lists or version != "original":
            raise DigrapError(
                f"dataset.annotations={annotations}: replaces the lists; leave out dataset.lists and dataset.version"
            )
        return Annotated(Path(annotations).expanduser())
    trains = [options.get("domain", "real") for options in splits.values() if options.get("kind") == "id_train"]
    source = Lists(version, Path(root).expanduser(), Path(lists).expanduser() if lists else None)
    return Listed(source, trains[0] if trains else "real")


class Listed:
    """DomainNet's lists, with the training list's labels and names."""

    def __init__(self, source: Lists, domain: str):
        self.source = source
        self.folders = class_names(source.read(domain, "train"), source.place)
        self.classes = tuple(map(spoken, self.folders))

    def read(self, domain: str, part: str) -> list[Entry]:
        """See `Source`. Raises DigrapError for a list that is missing, damaged or has other labels."""
        entries = self.source.read(domain, part)
        check_labels(entries, self.folders, self.source.place / f"{domain}_{part}")
        return entries


class Annotated:
    """The authors' unpublished files in `folder`.

    classes_data.json: [{"clip_bench_label": name}, …] in label order; real_train_split, real_val_split and
    <domain>_test.json: {key: {"class_idx": label, "image": "<domain>/<class>/<file>"}}, in the questions' order
    (chengyuehuang511/vlm_robustness, data/classifier_vqa_dataset.py).
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "classes_data.json"
        data = read_json(path, FIX)
        names = [entry.get(CLASS_KEY) if isinstance(entry, dict) else None for entry in _shaped(path, data, list)]
        if bad := [place for place, name in enumerate(names) if not isinstance(name, str) or not name.strip()]:
            raise DigrapError(f"{path}: entry {bad[0]} has no {CLASS_KEY}, the class's name as text; {FIX}")
        self.classes = tuple(names)

    def read(self, domain: str, part: str) -> list[Entry]:
        """See `Source`. Raises DigrapError for a file that is missing, no JSON, or wrong in an entry."""
        path = self.folder / FILES[part].format(domain)
        lines = []
        for key, entry in _shaped(path, read_json(path, FIX), dict).items():
            if not isinstance(entry, dict) or not {"class_idx", "image"} <= set(entry):
                raise DigrapError(f"{path}: entry {key!r} has no class_idx and image; {FIX}")
            lines.append(f"{entry['image']} {entry['class_idx']}\n")
        entries = parse("".join(lines).encode(), path, domain)  # its messages number entries as lines
        for number, (image, label) in enumerate(entries, 1):
            if label >= len(self.classes):
                last = len(self.classes) - 1
                raise DigrapError(f"{path}:{number}: {image} has class_idx {label}, the classes end at {last}; {FIX}")
        self._compare_folders(path, entries)
        return entries

    def _compare_folders(self, path: Path, entries: list[Entry]) -> None:
        """Log classes whose name differs from their folder's, a sign of labels in another order."""
        pairs = sorted({(label, spoken(image.split("/")[1])) for image, label in entries})
        other = [f"{name} is {self.classes[label]}" for label, name in pairs if not _alike(name, self.classes[label])]
        if other:
            first = ", ".join(other[:3])
            log.warning("%s: %d of %d classes are not named as their folders: %s", path, len(other), len(pairs), first)


class NamedPictures(Dataset):
    """Dataset of (PIL image in RGB, Question) in the list's order, read on access; `targets` are the labels."""

    def __init__(self, pictures: ListedPictures, records: list[Question]):
        self.pictures, self.records, self.targets = pictures, records, pictures.targets
        self.read = pictures.read

    @property
    def files(self) -> list[str]:
        """The path of each picture."""
        return self.pictures.files

    @property
    def ids(self) -> list[str]:
        """Paths of the images under the root, for prediction bundles."""
        return self.pictures.ids

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Image.Image, Question]:
        image, _ = self.pictures[index]
        return image, self.records[index]


def questions(entries: list[Entry], classes: tuple[str, ...], kind: str, question: str = QUESTION) -> list[Question]:
    """Return a record for each entry of a split of this kind.

    Its id is its index in the list, from 0, as in the authors' code.
    """
    answers = [(name,) * ANSWERS for name in classes]
    return [
        Question(
            question_id=str(place),
            placed=True,
            image_id=image,
            image=image,
            question=question,
            answers=answers[label],
            dataset=NAME,
            kind=kind_of_questions(kind),
            picture=f"domainnet:{image}",
        )
        for place, (image, label) in enumerate(entries)
    ]


def part_of(kind: str) -> str:
    """Return the part (train, val or test) that a split of this kind reads."""
    return PART_OF_KIND.get(kind, "test")


def _load(source: Source, root: Path, domain: str, kind: str, question: str) -> NamedPictures:
    entries = source.read(domain, part_of(kind))
    return NamedPictures(ListedPictures(root, entries), questions(entries, source.classes, kind, question))


def _shaped(path: Path, data: Any, kind: type) -> Any:
    """Return `data`. Raises DigrapError unless it is a non-empty list or object, as `kind` says."""
    if not isinstance(data, kind) or not data:
        wanted = {list: "a list of classes", dict: "an object of entries"}[kind]
        raise DigrapError(f"{path}: is not {wanted} (empty, or a {type(data).__name__}); {FIX}")
    return data


def _alike(first: str, second: str) -> bool:
    """Whether two names have the same letters and digits."""
    return [c for c in first.lower() if c.isalnum()] == [c for c in second.lower() if c.isalnum()]
