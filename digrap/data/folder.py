"""One's own pictures: root/<split>/<class>/*.jpg, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torchvision.datasets import DatasetFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, is_image_file

from digrap.core.errors import DigrapError
from digrap.data.splits import KINDS, DataModule, Split, check_kinds, named_ood

log = logging.getLogger(__name__)

LAYOUT = "expected: {root}/train/<class>/*.jpg, likewise val/, test/ and test_<name>/ for each out-of-distribution set"


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    near_ood: Iterable[str] = (),
    far_ood: Iterable[str] = (),
    **_: Any,
) -> DataModule:
    """The splits of configs/dataset/folder.yaml and one split <name> at root/test_<name> for each OOD name.

    `splits` maps a name to {folder, kind}. The classes are the folders of the training split, sorted; every other
    split has these or some of them. Folders are looked through here, pictures listed and read by a split's `load()`.
    Raises DigrapError for what is missing, empty, named twice, or of a class that has no training pictures.
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
    """(PIL image in RGB, label) of a split's folder, read when asked for; labels are places in `classes`.

    Raises DigrapError where there are no pictures, or where `complete` is set and a class has none.
    """

    def __init__(self, root: Path, classes: tuple[str, ...], complete: bool = False):
        self.known = classes  # before DatasetFolder asks for them
        super().__init__(str(root), loader=read_picture, is_valid_file=_is_picture, allow_empty=True)
        empty = [classes[label] for label in sorted(set(range(len(classes))) - set(self.targets))]
        if not self.samples or (complete and empty):
            what = f"no pictures of {', '.join(empty)}" if self.samples else "no pictures"
            raise DigrapError(f"{root}: {what} (files that end in {' '.join(IMG_EXTENSIONS)} count)")

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The training split's classes, whatever lies in this folder."""
        return list(self.known), {name: label for label, name in enumerate(self.known)}


def read_picture(path: str | Path) -> Image.Image:
    """A picture file in RGB, upright as its EXIF says, transparency over white; of several frames the first.

    Raises DigrapError naming the file.
    """
    mend = "mend or delete the file"
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode in ("I", "F"):  # PIL would cut everything above 255
                mend = "save it with 8 or 16 bits a channel"
                raise ValueError(f"32-bit pixels, mode {image.mode}, have no known range")
            if image.mode.startswith("I;16"):  # likewise; the upper byte is the picture
                image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DigrapError(f"{path}: the picture cannot be read ({error}); {mend}") from error


def absent_files(root: str | Path, files: Iterable[str]) -> list[str]:
    """The files, paths under `root`, that are not there: a look into each folder, not one at each file."""
    known: dict[str, set[str]] = {}
    absent = []
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder not in known:
            path = Path(root) / folder
            known[folder] = {found.name for found in os.scandir(path)} if path.is_dir() else set()
        if name not in known[folder]:
            absent.append(file)
    return absent


def _table(splits: Mapping[str, Mapping[str, str]], *ood: Iterable[str] | None) -> dict[str, tuple]:
    """{split: (folder, kind)} of the config's splits and the OOD names."""
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
    """root/folder, with what to do where it is not there."""
    path = root / folder
    if path.is_dir():
        return path
    mend = LAYOUT.format(root=root)
    if kind == "id_val":
        mend = f"move a tenth of each class of the training pictures there, it chooses the checkpoint; {mend}"
    elif kind == "id_test":
        mend = f"'~dataset.splits.{name}' does without it; {mend}"
    elif near := difflib.get_close_matches(folder, _subfolders(root), n=3, cutoff=0.5):
        mend = f"nearest: {', '.join(near)}; {mend}"
    raise DigrapError(f"split {name}: {path} is missing; {mend}")


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
            f"split {name}: {path / unknown[0]} is a class that the training split has not "
            f"({len(unknown)} such); rename or remove it; nearest: {', '.join(near)}"
        )


def _subfolders(path: Path) -> list[str]:
    """Names of the folders in `path`, sorted; hidden ones are no classes."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _is_picture(path: str) -> bool:
    return is_image_file(path) and not Path(path).name.startswith(".")  # macOS leaves ._name.jpg beside name.jpg
