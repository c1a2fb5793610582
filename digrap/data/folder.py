"""Your own pictures: root/<split>/<class>/*.jpg, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from torchvision.datasets import DatasetFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, is_image_file

from digrap.core.errors import DigrapError
from digrap.data.images import read_picture
from digrap.data.splits import KINDS, DataModule, Split, check_kinds, named_ood

log = logging.getLogger(__name__)

LAYOUT = "expected: {root}/train/<class>/*.jpg, likewise val/, test/ and test_<name>/ for each out-of-distribution set"


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    near_ood: Iterable[str] = (),
    far_ood: Iterable[str] = (),
) -> DataModule:
    """Build the splits of configs/dataset/folder.yaml and one split <name> at root/test_<name> for each OOD name.

    `splits` maps a name to {folder, kind}. The classes are the folders of the training split, sorted; every other split
    has all or some of them. Folders are checked here, pictures are listed and read by a split's `load()`. Raises
    DigrapError for a folder that is missing, empty or named twice, and for a class without training pictures.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DigrapError(f"dataset.root={root}: there is no such folder; {LAYOUT.format(root=root)}")
    table = _table(splits, near_ood, far_ood)
    paths = {name: _existing(root, folder, name, kind) for name, (folder, kind) in table.items()}
    (train,) = (name for name, (_, kind) in table.items() if kind == "id_train")
    classes = tuple(_subfolders(paths[train]))
    result = {}
    for name, path in paths.items():
        kind = table[name][1]
        _check_classes(path, name, classes)
        result[name] = Split(name, kind, "folder", partial(Pictures, path, classes, complete=kind == "id_train"))
    used = {folder for folder, _ in table.values()}
    if unused := [name for name in _subfolders(root) if name.startswith("test_") and name not in used]:
        names = ",".join(name.removeprefix("test_") for name in unused)
        log.info("not used: %s; name them with dataset.near_ood=[%s] (or far_ood)", ", ".join(unused), names)
    return DataModule(result, classes)


class Pictures(DatasetFolder):
    """Dataset of (PIL image in RGB, label) from a split's folder, read on access; labels are indices of `classes`.

    Raises DigrapError where there are no pictures, or where `complete` is set and a class has none.
    """

    def __init__(self, root: Path, classes: tuple[str, ...], complete: bool = False):
        self.known = classes  # DatasetFolder's constructor calls find_classes
        super().__init__(str(root), loader=read_picture, is_valid_file=_is_picture, allow_empty=True)
        empty = [classes[label] for label in sorted(set(range(len(classes))) - set(self.targets))]
        if not self.samples or (complete and empty):
            what = f"no pictures of {', '.join(empty)}" if self.samples else "no pictures"
            raise DigrapError(f"{root}: {what} (files that end in {' '.join(IMG_EXTENSIONS)} count)")

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
    walks = (os.walk(path / label, followlinks=True) for label in found)
    if not any(_is_picture(file) for walk in walks for *_, files in walk for file in files):
        raise DigrapError(
            f"split {name}: no pictures in {path}/<class>/; {LAYOUT.format(root=path.parent)} "
            f"(files that end in {' '.join(IMG_EXTENSIONS)} count)"
        )
    if unknown := [label for label in found if label not in classes]:
        near = difflib.get_close_matches(unknown[0], classes, n=3, cutoff=0.5) or classes[:3]
        raise DigrapError(
            f"split {name}: {path / unknown[0]} is a class that the training split does not have "
            f"({len(unknown)} such); rename or remove it; nearest: {', '.join(near)}"
        )


def _subfolders(path: Path) -> list[str]:
    """Return the names of the folders in `path`, sorted, without hidden ones."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _is_picture(path: str) -> bool:
    return is_image_file(path) and not Path(path).name.startswith(".")  # macOS writes ._name.jpg beside name.jpg
