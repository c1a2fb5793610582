"""Your own pictures: root/<split>/<class>/*.jpg, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.data.class_folders import SplitFolder, data_module, files_of, subfolders, what_counts
from digrap.data.class_names import named, read_names
from digrap.data.images import is_picture
from digrap.data.splits import KINDS, DataModule, check_kinds, named_ood

log = logging.getLogger(__name__)

LAYOUT = "expected: {root}/train/<class>/*.jpg, likewise val/, test/ and test_<name>/ for each out-of-distribution set"


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    near_ood: Iterable[str] = (),
    far_ood: Iterable[str] = (),
    holdout: float | None = None,
    names: str | Path | None = None,
    known: Sequence[str] | None = None,
) -> DataModule:
    """Build the splits of configs/dataset/folder.yaml and one split <name> at root/test_<name> for each OOD name.

    `splits` maps a name to {folder, kind}. The classes are the folders of the training split, sorted; every other split
    has all or some of them; `names` is a file with words for them. A split in the training split's folder takes the
    share `holdout` of each class's pictures, which then do not train. Folders are checked here, pictures are listed and
    read by a split's `load()`, which counts and logs the files that it leaves out. Raises DigrapError for a folder that
    is missing, empty or named twice, and for a class without training pictures.

    To test a model that knows the classes `known`, the folders that there are do, even root/<class>/*.jpg alone, which
    is the split `test`; the classes are those with a folder. () is a model of any classes, for which a training split
    that is there has them.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DigrapError(f"dataset.root={root}: there is no such folder; {LAYOUT.format(root=root)}")
    words = read_names(names) if names else {}
    table = split_table(splits)
    for name, kind in named_ood(table, near_ood, far_ood):
        table[name] = (f"test_{name}", kind)
    (train,) = (folder for folder, kind in table.values() if kind == "id_train")
    if known or (known is not None and not (root / train).is_dir()):
        return _tested_alone(root, table, words)
    paths = {name: _existing(root, folder, name, kind) for name, (folder, kind) in table.items()}
    used, caveats = {folder for folder, _ in table.values()}, ()
    if unused := [name for name in subfolders(root) if name.startswith("test_") and name not in used]:
        listed = ",".join(name.removeprefix("test_") for name in unused)
        caveat = f"not used: {', '.join(unused)}; name them with dataset.near_ood=[{listed}] (or far_ood)"
        log.info(caveat)
        caveats = (caveat,)
    kinds = {name: kind for name, (_, kind) in table.items()}
    return replace(of_equal_classes("folder", paths, kinds, words, holdout), caveats=caveats)


def of_equal_classes(
    dataset: str,
    paths: Mapping[str, Path],
    kinds: Mapping[str, str],
    words: Mapping[str, str],
    holdout: float | None = None,
) -> DataModule:
    """Return the splits in these folders, whose classes are named alike: those of the training split, or where there is
    none those of all. Raises DigrapError for another class, and for a folder without pictures."""
    train = [name for name, kind in kinds.items() if kind == "id_train"]
    folders = sorted({label for name in train or paths for label in subfolders(paths[name])})
    for name, path in paths.items():
        _check_classes(path, name, folders)
    labels = {label: place for place, label in enumerate(folders)}
    parts = {name: SplitFolder(kinds[name], path, labels) for name, path in paths.items()}
    return data_module(dataset, parts, named(folders, words), holdout)


def _tested_alone(root: Path, table: Mapping[str, tuple[str, str]], words: Mapping[str, str]) -> DataModule:
    """The folders of the table that exist, but for the training split's; else `root` itself as the split test."""
    trained = {folder for folder, kind in table.values() if kind == "id_train"}
    found = {name: row for name, row in table.items() if row[0] not in trained and (root / row[0]).is_dir()}
    found = found or {"test": (".", "id_test")}
    paths = {name: _existing(root, folder, name, kind) for name, (folder, kind) in found.items()}
    return of_equal_classes("folder", paths, {name: kind for name, (_, kind) in found.items()}, words)


def split_table(splits: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, str]]:
    """Return {split: (folder, kind)} of the config's splits. Raises DigrapError for a wrong one."""
    table = {}
    for name, options in splits.items():
        if set(options) != {"folder", "kind"} or options["kind"] not in KINDS:
            raise DigrapError(f"dataset.splits.{name}={dict(options)}: give folder and kind, one of {', '.join(KINDS)}")
        table[name] = (options["folder"], options["kind"])
    check_kinds(kind for _, kind in table.values())
    return table


def _existing(root: Path, folder: str, name: str, kind: str) -> Path:
    """Return root/folder. Raises DigrapError that says how to make it where it is missing."""
    path = root / folder
    if path.is_dir():
        return path
    fix = LAYOUT.format(root=root)
    if kind == "id_val":
        fix = (
            "move a tenth of each class of the training pictures there, which then chooses the checkpoint, or hold "
            f"them out with dataset.splits.{name}.folder=train dataset.holdout=0.1; {fix}"
        )
    elif kind == "id_test":
        fix = f"'~dataset.splits.{name}' runs without it; {fix}"
    elif near := difflib.get_close_matches(folder, subfolders(root), n=3, cutoff=0.5):
        fix = f"nearest: {', '.join(near)}; {fix}"
    raise DigrapError(f"split {name}: {path} is missing; {fix}")


def _check_classes(path: Path, name: str, classes: Sequence[str]) -> None:
    """Raise DigrapError for a folder without pictures, or with a class that is not in the training split."""
    found = subfolders(path)
    if not any(map(is_picture, files_of(path))):
        layout = LAYOUT.format(root=path.parent)
        raise DigrapError(f"split {name}: no pictures in {path}/<class>/; {layout} ({what_counts(path)})")
    if unknown := [label for label in found if label not in classes]:
        near = difflib.get_close_matches(unknown[0], classes, n=3, cutoff=0.5) or classes[:3]
        raise DigrapError(
            f"split {name}: {path / unknown[0]} is a class that the training split does not have "
            f"({len(unknown)} such); rename or remove it; nearest: {', '.join(near)}"
        )
