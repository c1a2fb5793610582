"""ImageNet with its shifted test sets, each in the layout that it is published in. Classes agree by WordNet id."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from digrap.core.errors import DigrapError
from digrap.data.class_folders import SplitFolder, data_module, subfolders
from digrap.data.class_names import WORDNET, identity, named, read_names
from digrap.data.images import read_picture
from digrap.data.objectnet import without_border, wordnet_ids
from digrap.data.splits import KINDS, DataModule, Over, check_kinds

log = logging.getLogger(__name__)
CLASSES = 1000
SHOWN = 3
NAMES = "LOC_synset_mapping.txt"  # of ImageNet's release on Kaggle: `n01440764 tench, Tinca tinca` in every line
IMAGENET = (
    "ImageNet 2012, from https://image-net.org/download once you have agreed to its terms; "
    'torchvision.datasets.ImageNet(root, "train") and (root, "val") unpack its archives into folders by WordNet id'
)
HOW = {  # folder: where it is from
    "train": IMAGENET,
    "val": IMAGENET,
    "imagenetv2-matched-frequency-format-val": "https://github.com/modestyachts/ImageNetV2, unpacked",
    "imagenet-r": "imagenet-r.tar of https://github.com/hendrycks/imagenet-r, unpacked",
    "sketch": "https://github.com/HaohanWang/ImageNet-Sketch, unpacked",
    "imagenet-a": "imagenet-a.tar of https://github.com/hendrycks/natural-adv-examples, unpacked",
    "objectnet-1.0/images": "https://objectnet.dev, with mappings/ beside images/; its licence forbids training on it",
}


@dataclass(frozen=True)
class Wanted:
    """A split of the config: its kind, its folder, and how the folder's classes are named."""

    kind: str
    path: Path
    classes: str


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    holdout: float,
    names: str | Path | None = None,
    known: Sequence[str] | None = None,
) -> DataModule:
    """Build the splits of configs/dataset/imagenet_shifts.yaml, each {folder, kind, classes}.

    The classes are the WordNet ids that the training split has as folders, with words from `names` or
    root/LOC_synset_mapping.txt. A test set is scored over those of its classes that are among them; pictures of others
    are left out. Splits in the training split's folder have the share `holdout` of each class's pictures. With `known`,
    the classes of a model, the test sets that exist are tested; () is a model of any classes, which are then the
    training split's, or without it all that have words. Raises DigrapError for whatever is missing, all at once.
    """
    root = Path(root).expanduser()
    table = {name: _wanted(root, name, options) for name, options in splits.items()}
    check_kinds(row.kind for row in table.values())
    (train,) = (row.path for row in table.values() if row.kind == "id_train")
    absent = [name for name, row in table.items() if not row.path.is_dir()]
    if known is not None:
        tests = [name for name, row in table.items() if row.path != train]
        table = {name: table[name] for name in tests if name not in absent}
        absent = [] if table else tests
    if absent:
        raise DigrapError(_missing(root, {name: splits[name] for name in absent}, optional=known is None))
    file = Path(names).expanduser() if names else root / NAMES
    words = read_names(file) if names or file.is_file() else {}
    if not known:
        folders = subfolders(train) if train.is_dir() else sorted(words)
        known = named([label for label in folders if WORDNET.fullmatch(label)], words)
    places = {identity(name): place for place, name in enumerate(known)}
    if not places or not all(map(WORDNET.fullmatch, places)):
        raise DigrapError("dataset=imagenet_shifts: the classes are not named by WordNet ids, as in train/n01440764/")
    listed = sorted(words if len(words) == CLASSES else places)
    parts = {name: _part(name, row, places, known, listed) for name, row in table.items()}
    return data_module("imagenet_shifts", parts, tuple(known), holdout, _caveats(parts, len(known)))


def _part(
    name: str, row: Wanted, places: Mapping[str, int], known: Sequence[str], listed: Sequence[str]
) -> SplitFolder:
    """Return a split's folders with their labels, and the classes that it is scored over."""
    folders = subfolders(row.path)
    ids, words, read = NAMED_BY[row.classes](row, folders, listed)
    found = {folder: [places[one] for one in ids[folder] if one in places] for folder in folders if folder in ids}
    found = {folder: group for folder, group in found.items() if group}
    if not found:
        there = ", ".join(folders[:SHOWN]) or "none"
        raise DigrapError(
            f"split {name}: no folder in {row.path} is a trained class (folders there: {there}); pictures must be in "
            "one folder per class; docs/datasets.md shows the layout"
        )
    if fewer := len(folders) - len(found):
        log.info("%s: %d of %d class folders are not trained classes and are left out", name, fewer, len(folders))
    whole = {folder: group[0] for folder, group in found.items()}
    if len(found) == len(known) and len(set(whole.values())) == len(known):
        return SplitFolder(row.kind, row.path, whole, read=read)
    order = sorted(found, key=lambda folder: min(found[folder]))
    names = tuple(words.get(folder) or known[whole[folder]] for folder in order)
    over = Over(names, tuple(tuple(found[folder]) for folder in order))
    return SplitFolder(row.kind, row.path, {folder: place for place, folder in enumerate(order)}, over, read)


Found = tuple[Mapping[str, Sequence[str]], Mapping[str, str], Callable[[str], Image.Image]]
"""{folder: WordNet ids}, {folder: words} where the classes have names of their own, and what reads a picture."""


def _by_wordnet(row: Wanted, folders: Sequence[str], listed: Sequence[str]) -> Found:
    return {folder: [folder] for folder in folders if WORDNET.fullmatch(folder)}, {}, read_picture


def _by_number(row: Wanted, folders: Sequence[str], listed: Sequence[str]) -> Found:
    """Folders 0 to 999 in the order of ImageNet's sorted WordNet ids."""
    _check_listed(row, listed)
    numbers = {folder: int(folder) for folder in folders if folder.isdecimal()}
    return {folder: [listed[number]] for folder, number in numbers.items() if number < len(listed)}, {}, read_picture


def _of_objectnet(row: Wanted, folders: Sequence[str], listed: Sequence[str]) -> Found:
    _check_listed(row, listed)
    ids, words = wordnet_ids(row.path.parent / "mappings", listed)
    return ids, words, without_border


NAMED_BY = {"wordnet": _by_wordnet, "numbers": _by_number, "objectnet": _of_objectnet}


def _check_listed(row: Wanted, listed: Sequence[str]) -> None:
    """Raise DigrapError unless `listed` are all of ImageNet's classes, which numbers refer to."""
    if len(listed) != CLASSES:
        raise DigrapError(
            f"{row.path}: its classes are numbers of ImageNet's {CLASSES:,} sorted WordNet ids, but only {len(listed)} "
            f"are known; put {NAMES} (of ImageNet's release on Kaggle) into dataset.root, or give it as "
            "dataset.names=FILE"
        )


def _wanted(root: Path, name: str, options: Mapping[str, str]) -> Wanted:
    keys = {"folder", "kind", "classes"}
    if set(options) != keys or options["kind"] not in KINDS or options["classes"] not in NAMED_BY:
        raise DigrapError(
            f"dataset.splits.{name}={dict(options)}: give folder, kind (one of {', '.join(KINDS)}) and classes (one of "
            f"{', '.join(NAMED_BY)})"
        )
    return Wanted(options["kind"], root / options["folder"], options["classes"])


def _missing(root: Path, splits: Mapping[str, Mapping[str, str]], optional: bool) -> str:
    """Return the message about splits whose folders are missing: where they are from, and how to do without those that
    are `optional`, the out-of-distribution sets."""
    lines = [f"dataset=imagenet_shifts: missing under dataset.root={root}:"]
    for folder in dict.fromkeys(options["folder"] for options in splits.values()):
        names = ", ".join(name for name, options in splits.items() if options["folder"] == folder)
        lines.append(f"  {folder}/ (for {names}): {HOW.get(folder, 'the folder that you named')}")
    sets = [name for name, options in splits.items() if options["kind"] in ("near_ood", "far_ood")]
    if optional and sets:
        without = " ".join(f"'~dataset.splits.{name}'" for name in sets)
        lines.append(f"To run without the missing test sets: {without}")
    return "\n".join(lines)


def _caveats(parts: Mapping[str, SplitFolder], classes: int) -> tuple[str, ...]:
    """A sentence on the splits that are scored over a part of the classes."""
    fewer = [f"{name} {len(part.over.names):,}" for name, part in parts.items() if part.over is not None]
    return (f"scored over their own classes, of the {classes:,} trained: {', '.join(fewer)}",) if fewer else ()
