"""Folders of pictures, a folder a class, as torchvision's ImageFolder reads them: the splits that they make."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.datasets import DatasetFolder

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.images import ENDINGS, is_dropping, is_picture, read_picture
from digrap.data.splits import DataModule, Over, Split

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitFolder:
    """A split's folder: `labels` are those of its class folders, further folders are left out; `over` is as in `Split`,
    `read` reads a picture."""

    kind: str
    path: Path
    labels: Mapping[str, int]
    over: Over | None = None
    read: Callable[[str], Image.Image] = read_picture


def data_module(
    dataset: str,
    parts: Mapping[str, SplitFolder],
    classes: tuple[str, ...],
    holdout: float | None = None,
    caveats: tuple[str, ...] = (),
) -> DataModule:
    """Return a dataset of these parts. Those in the folder of the training part divide its pictures by `holdout`."""
    train = next((part.path for part in parts.values() if part.kind == "id_train"), None)
    sharing = [name for name, part in parts.items() if part.path == train and part.kind != "id_train"]
    _check_holdout(holdout, sharing)
    listed = cache(partial(_listed, parts))
    load = cache(partial(_load, parts, listed, sharing, holdout))
    splits = {name: Split(name, part.kind, dataset, partial(load, name), part.over) for name, part in parts.items()}
    return DataModule(splits, classes, caveats=caveats, about=None if train is None else partial(_about, splits))


def _listed(parts: Mapping[str, SplitFolder], name: str) -> Pictures:
    """Return the pictures in a part's folder, and log what is left out of it."""
    part = parts[name]
    pictures = Pictures(part.path, part.labels, complete=part.kind == "id_train", read=part.read)
    for line in pictures.problems.lines():
        log.warning("%s: %s", name, line)
    return pictures


def _load(
    parts: Mapping[str, SplitFolder],
    listed: Callable[[str], Pictures],
    sharing: Sequence[str],
    holdout: float | None,
    name: str,
) -> Pictures:
    """Return a split's pictures: all in its folder, or its share of the training folder's."""
    if not sharing or (name not in sharing and parts[name].kind != "id_train"):
        return listed(name)
    train = next(name for name, part in parts.items() if part.kind == "id_train")
    return listed(train).share(0 if name == train else 1 + sharing.index(name), len(sharing), holdout)


def _check_holdout(holdout: Any, sharing: Sequence[str]) -> None:
    """Raise DigrapError unless `holdout` is a share that leaves something to train on, where splits need one."""
    if not sharing:
        return
    number = isinstance(holdout, (int, float)) and not isinstance(holdout, bool)
    if not number or not 0 < holdout * len(sharing) < 1:
        raise DigrapError(
            f"dataset.holdout={holdout}: {' and '.join(sharing)} are held out from the training split's folder; give "
            "each one's share of its pictures, as in dataset.holdout=0.1"
        )


def _about(splits: Mapping[str, Split]) -> dict[str, Any]:
    """List all splits and return {problems: {split: {kind: …}}}; {} where there are none."""
    found = {name: split.load().problems.summary() for name, split in splits.items()}
    return {"problems": {name: kinds for name, kinds in found.items() if kinds}} if any(found.values()) else {}


class Pictures(DatasetFolder):
    """Dataset of (PIL image in RGB, label) from a split's folder, read on access; `labels` are those of its folders.

    `problems` counts the files that are left out, by their ending. Raises DigrapError where there are no pictures, or
    where `complete` is set and a folder of `labels` has none.
    """

    def __init__(
        self,
        root: Path,
        labels: Mapping[str, int],
        complete: bool = False,
        read: Callable[[str], Image.Image] = read_picture,
    ):
        self.labels = dict(labels)  # DatasetFolder's constructor calls find_classes
        self.problems, self.read = Problems(), read
        super().__init__(str(root), loader=read, is_valid_file=self._is_taken, allow_empty=True)
        for name in sorted(entry.name for entry in os.scandir(root) if entry.is_file()):
            if is_picture(name):
                self.problems.add("picture outside the class folders (left out)", str(root / name))
        found = set(self.targets)
        empty = [name for name, label in labels.items() if label not in found]
        if not self.samples or (complete and empty):
            what = f"no pictures of {', '.join(empty)}" if self.samples else "no pictures"
            raise DigrapError(f"{root}: {what} ({what_counts(root)})")

    @property
    def files(self) -> list[str]:
        """The path of each picture."""
        return [path for path, _ in self.samples]

    @property
    def ids(self) -> list[str]:
        """Paths of the pictures within the split's folder, for prediction bundles."""
        return [Path(path).relative_to(self.root).as_posix() for path, _ in self.samples]

    def share(self, number: int, shares: int, fraction: float) -> Pictures:
        """Return a part of the pictures. Number 1 to `shares` have each `fraction` of every class, at least a picture,
        in an order by the sha256 of their paths; number 0 has the rest. Raises DigrapError for a class with too few."""
        places = defaultdict(list)
        for place, name in enumerate(self.ids):
            places[self.targets[place]].append((hashlib.sha256(name.encode()).digest(), place))
        chosen = []
        for label, ordered in places.items():
            size = max(1, round(len(ordered) * fraction))
            if size * shares >= len(ordered):
                (name,) = (name for name, other in self.labels.items() if other == label)
                raise DigrapError(
                    f"{Path(self.root) / name}: its {len(ordered)} pictures are too few to hold out {shares} × {size}; "
                    "add some, or give a smaller dataset.holdout"
                )
            first = (number - 1) * size if number else shares * size
            chosen += [place for _, place in sorted(ordered)[first : first + size if number else None]]
        part = copy.copy(self)
        part.samples = part.imgs = [self.samples[place] for place in sorted(chosen)]
        part.targets = [label for _, label in part.samples]
        part.problems = self.problems if number == 0 else Problems()  # counted once
        return part

    def _is_taken(self, path: str) -> bool:
        """Return whether a file is a picture; count one that is none, unless it is hidden or of an operating system."""
        file = Path(path.removeprefix(self.root))
        if any(map(is_dropping, file.parts)):
            return False
        ending = file.suffix.lower()
        if not is_picture(file.name):
            self.problems.add(f"file that ends in {ending or 'nothing'}: not a known picture format (left out)", path)
            return False
        if ending == ".gif":
            self.problems.add("file that ends in .gif: only the first frame of an animation is used", path)
        return True

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Return the known classes, whatever this folder holds."""
        return list(self.labels), self.labels


def what_counts(path: Path) -> str:
    """Say which files are pictures, and how the other files in the classes' folders end."""
    others = Counter(Path(name).suffix.lower() or "nothing" for name in files_of(path) if not is_picture(name))
    there = ", ".join(f"{count} in {ending}" for ending, count in others.most_common(5))
    return f"pictures are files that end in {' '.join(ENDINGS)}" + (f"; other files here: {there}" if there else "")


def files_of(path: Path) -> Iterator[str]:
    """Yield the names of the files in the classes' folders and below them, without hidden ones."""
    for label in subfolders(path):
        for _, folders, files in os.walk(path / label, followlinks=True):
            folders[:] = [name for name in folders if not is_dropping(name)]
            yield from (name for name in files if not is_dropping(name))


def subfolders(path: Path) -> list[str]:
    """Return the names of the folders in `path`, sorted, without hidden ones and those of an operating system."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not is_dropping(entry.name))
