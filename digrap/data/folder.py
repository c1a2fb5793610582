"""Your own pictures: root/<split>/<class>/*.jpg, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import difflib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from torchvision.datasets import DatasetFolder

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.images import ENDINGS, is_dropping, is_picture, read_picture
from digrap.data.splits import KINDS, DataModule, Split, check_kinds, named_ood

log = logging.getLogger(__name__)

LAYOUT = "expected: {root}/train/<class>/*.jpg, likewise val/, test/ and test_<name>/ for each out-of-distribution set"


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    near_ood: Iterable[str] = (),
    far_ood: Iterable[str] = (),
    known: Sequence[str] | None = None,
) -> DataModule:
    """Build the splits of configs/dataset/folder.yaml and one split <name> at root/test_<name> for each OOD name.

    `splits` maps a name to {folder, kind}. The classes are the folders of the training split, sorted; every other split
    has all or some of them. Folders are checked here, pictures are listed and read by a split's `load()`, which counts
    and logs the files that it leaves out. Raises DigrapError for a folder that is missing, empty or named twice, and
    for a class without training pictures.

    To test a model that knows the classes `known`, the folders that there are do, even root/<class>/*.jpg alone, which
    is the split `test`; the classes are those with a folder.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DigrapError(f"dataset.root={root}: there is no such folder; {LAYOUT.format(root=root)}")
    table = _table(splits, near_ood, far_ood)
    if known is not None:
        return _tested_alone(root, table)
    paths = {name: _existing(root, folder, name, kind) for name, (folder, kind) in table.items()}
    (train,) = (name for name, (_, kind) in table.items() if kind == "id_train")
    classes = tuple(_subfolders(paths[train]))
    for name, path in paths.items():
        _check_classes(path, name, classes)
    load = cache(partial(_load, paths, classes, train))
    result = {name: Split(name, kind, "folder", partial(load, name)) for name, (_, kind) in table.items()}
    used = {folder for folder, _ in table.values()}
    if unused := [name for name in _subfolders(root) if name.startswith("test_") and name not in used]:
        names = ",".join(name.removeprefix("test_") for name in unused)
        log.info("not used: %s; name them with dataset.near_ood=[%s] (or far_ood)", ", ".join(unused), names)
    return DataModule(result, classes, about=partial(_about, result))


def _tested_alone(root: Path, table: Mapping[str, tuple[str, str]]) -> DataModule:
    """The folders of the table that exist, but for the training split; else `root` itself as the split test."""
    found = {name: row for name, row in table.items() if row[1] != "id_train" and (root / row[0]).is_dir()}
    found = found or {"test": (".", "id_test")}
    paths = {name: _existing(root, folder, name, kind) for name, (folder, kind) in found.items()}
    classes = tuple(sorted({label for path in paths.values() for label in _subfolders(path)}))
    for name, path in paths.items():
        _check_classes(path, name, classes)
    load = partial(_load, paths, classes, "")
    splits = {name: Split(name, kind, "folder", partial(load, name)) for name, (_, kind) in found.items()}
    return DataModule(splits, classes)


def _load(paths: Mapping[str, Path], classes: tuple[str, ...], train: str, name: str) -> Pictures:
    """Return a split's pictures, and log what is left out of its folder."""
    pictures = Pictures(paths[name], classes, complete=name == train)
    for line in pictures.problems.lines():
        log.warning("%s: %s", name, line)
    return pictures


def _about(splits: Mapping[str, Split]) -> dict[str, Any]:
    """List all splits and return {problems: {split: {kind: …}}}; {} where there are none."""
    found = {name: split.load().problems.summary() for name, split in splits.items()}
    return {"problems": {name: kinds for name, kinds in found.items() if kinds}} if any(found.values()) else {}


class Pictures(DatasetFolder):
    """Dataset of (PIL image in RGB, label) from a split's folder, read on access; labels are indices of `classes`.

    `problems` counts the files that are left out, by their ending. Raises DigrapError where there are no pictures, or
    where `complete` is set and a class has none.
    """

    def __init__(self, root: Path, classes: tuple[str, ...], complete: bool = False):
        self.known = classes  # DatasetFolder's constructor calls find_classes
        self.problems = Problems()
        super().__init__(str(root), loader=read_picture, is_valid_file=self._is_taken, allow_empty=True)
        for name in sorted(entry.name for entry in os.scandir(root) if entry.is_file()):
            if is_picture(name):
                self.problems.add("picture outside of the classes' folders (left out)", str(root / name))
        empty = [classes[label] for label in sorted(set(range(len(classes))) - set(self.targets))]
        if not self.samples or (complete and empty):
            what = f"no pictures of {', '.join(empty)}" if self.samples else "no pictures"
            raise DigrapError(f"{root}: {what} ({_what_counts(root)})")

    read = staticmethod(read_picture)

    @property
    def files(self) -> list[str]:
        """The path of each picture."""
        return [path for path, _ in self.samples]

    @property
    def ids(self) -> list[str]:
        """Paths of the pictures within the split's folder, for prediction bundles."""
        return [Path(path).relative_to(self.root).as_posix() for path, _ in self.samples]

    def _is_taken(self, path: str) -> bool:
        """Return whether a file is a picture; count one that is none, unless it is hidden or of an operating system."""
        file = Path(path.removeprefix(self.root))
        if any(map(is_dropping, file.parts)):
            return False
        ending = file.suffix.lower()
        if not is_picture(file.name):
            self.problems.add(f"file that ends in {ending or 'nothing'}: not taken for a picture (left out)", path)
            return False
        if ending == ".gif":
            self.problems.add("file that ends in .gif: of a moving picture the first frame is used", path)
        return True

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """Return the training split's classes, whatever this folder holds."""
        return list(self.known), {name: label for label, name in enumerate(self.known)}


def _table(splits: Mapping[str, Mapping[str, str]], *ood: Iterable[str] | None) -> dict[str, tuple]:
    """Return {split: (folder, kind)} of the config's splits and the OOD names."""
    table = {}
    for name, options in splits.items():
        if set(options) != {"folder", "kind"} or options["kind"] not in KINDS:
            raise DigrapError(f"dataset.splits.{name}={dict(options)}: give folder and kind, one of {', '.join(KINDS)}")
        table[name] = (options["folder"], options["kind"])
    check_kinds(kind for _, kind in table.values())
    for name, kind in named_ood(table, *ood):
        table[name] = (f"test_{name}", kind)
    return table


def _existing(root: Path, folder: str, name: str, kind: str) -> Path:
    """Return root/folder. Raises DigrapError that says how to make it where it is missing."""
    path = root / folder
    if path.is_dir():
        return path
    fix = LAYOUT.format(root=root)
    if kind == "id_val":
        fix = f"move a tenth of each class of the training pictures there, which then chooses the checkpoint; {fix}"
    elif kind == "id_test":
        fix = f"'~dataset.splits.{name}' runs without it; {fix}"
    elif near := difflib.get_close_matches(folder, _subfolders(root), n=3, cutoff=0.5):
        fix = f"nearest: {', '.join(near)}; {fix}"
    raise DigrapError(f"split {name}: {path} is missing; {fix}")


def _check_classes(path: Path, name: str, classes: tuple[str, ...]) -> None:
    """Raise DigrapError for a folder without pictures, or with a class that is not in the training split."""
    found = _subfolders(path)
    if not any(map(is_picture, _files(path))):
        layout = LAYOUT.format(root=path.parent)
        raise DigrapError(f"split {name}: no pictures in {path}/<class>/; {layout} ({_what_counts(path)})")
    if unknown := [label for label in found if label not in classes]:
        near = difflib.get_close_matches(unknown[0], classes, n=3, cutoff=0.5) or classes[:3]
        raise DigrapError(
            f"split {name}: {path / unknown[0]} is a class that the training split does not have "
            f"({len(unknown)} such); rename or remove it; nearest: {', '.join(near)}"
        )


def _what_counts(path: Path) -> str:
    """Say which files are pictures, and how the other files in the classes' folders end."""
    others = Counter(Path(name).suffix.lower() or "nothing" for name in _files(path) if not is_picture(name))
    there = "".join(f", {count} in {ending}" for ending, count in others.most_common(5))
    return f"files that end in {' '.join(ENDINGS)} count" + (f"; others end otherwise{there}" if there else "")


def _files(path: Path) -> Iterator[str]:
    """Yield the names of the files in the classes' folders and below them, without hidden ones."""
    for label in _subfolders(path):
        for _, folders, files in os.walk(path / label, followlinks=True):
            folders[:] = [name for name in folders if not is_dropping(name)]
            yield from (name for name in files if not is_dropping(name))


def _subfolders(path: Path) -> list[str]:
    """Return the names of the folders in `path`, sorted, without hidden ones and those of an operating system."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not is_dropping(entry.name))
