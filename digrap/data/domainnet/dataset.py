"""DomainNet's splits as datasets of (PIL image, label)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError
from digrap.data.domainnet.facts import ARCHIVES, GIGABYTES, fetch_command
from digrap.data.domainnet.lists import Entry, Lists, check_labels, class_names, spoken
from digrap.data.images import absent_files, read_truncated
from digrap.data.splits import KINDS, DataModule, Split

PART_OF_KIND = {"id_train": "train", "id_val": "val"}  # all others are test lists


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, Any]],
    version: str = "original",
    lists: str | Path | None = None,
) -> DataModule:
    """Build the splits of configs/dataset/domainnet.yaml from the images under `root`, which may be read-only.

    `splits` maps a name to {domain, kind}; `version` and `lists` choose the lists (see `Lists`). Only the training list
    is read here, for the classes; a split's `load()` reads its list and checks that its images exist. Raises
    DigrapError for missing folders, lists or images.
    """
    root = Path(root).expanduser()
    table = {name: _checked(name, options) for name, options in splits.items()}
    source = Lists(version, root, Path(lists).expanduser() if lists else None)
    domains = sorted({domain for domain, _ in table.values()})
    if absent := [domain for domain in domains if not (root / domain).is_dir()]:
        raise DigrapError(missing_message(root, absent))
    trains = [domain for domain, kind in table.values() if kind == "id_train"]
    if len(trains) != 1:
        raise DigrapError(f"dataset.splits: {len(trains)} of kind id_train; give one")
    names = class_names(source.read(trains[0], "train"), source.place)
    result = {}
    for name, (domain, kind) in table.items():
        load = partial(_load, source, domain, PART_OF_KIND.get(kind, "test"), names)
        result[name] = Split(name, kind, "domainnet", load)
    return DataModule(result, tuple(map(spoken, names)))


def missing_message(root: Path, domains: Iterable[str] = tuple(sorted(ARCHIVES))) -> str:
    """Return the error text for folders of DomainNet that are missing under `root`."""
    return (
        f"dataset=domainnet: no images under {root} (missing folders: {', '.join(domains)}). `{fetch_command(root)}` "
        f"fetches them ({GIGABYTES:.1f} GB); data_root=… points elsewhere. Without a download: `python train.py "
        "dataset=minidomainnet`, the built-in miniature (of domainnet_ovqa: minidomainnet_ovqa)."
    )


class ListedPictures(Dataset):
    """Dataset of (PIL image in RGB, label) in the list's order, read on access.

    The constructor raises DigrapError with the number and the first of the listed images that are missing.
    """

    def __init__(self, root: Path, entries: list[Entry]):
        if absent := absent_images(root, entries):
            raise DigrapError(absent_message(root, absent, len(entries)))
        self.root = str(root)
        self.samples = entries
        self.targets = [label for _, label in entries]

    read = staticmethod(read_truncated)

    @property
    def files(self) -> list[str]:
        """The path of each picture."""
        return [f"{self.root}/{image}" for image, _ in self.samples]

    @property
    def ids(self) -> list[str]:
        """Paths of the images under the root, for prediction bundles."""
        return [image for image, _ in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image, label = self.samples[index]
        return read_truncated(f"{self.root}/{image}"), label


def absent_images(root: Path, entries: Iterable[Entry]) -> list[str]:
    """Return the listed images that are missing."""
    return absent_files(root, (image for image, _ in entries))


def absent_message(root: Path, absent: list[str], total: int) -> str:
    """Return the error text for missing images: how many, the first of them, and the fix."""
    domains = sorted({image.split("/")[0] for image in absent})
    first = ", ".join(absent[:3]) + (" …" if len(absent) > 3 else "")
    folders = " and ".join(str(root / domain) for domain in domains)
    return (
        f"{root}: {len(absent)} of {total} listed images are missing: {first}; delete {folders} and run "
        f"`{fetch_command(root)}`, which fetches what is missing"
    )


def _checked(name: str, options: Mapping[str, Any]) -> tuple[str, str]:
    if set(options) != {"domain", "kind"}:
        raise DigrapError(f"dataset.splits.{name}={dict(options)}: give domain and kind")
    for key, known in (("domain", tuple(ARCHIVES)), ("kind", KINDS)):
        if options[key] not in known:
            raise DigrapError(f"dataset.splits.{name}.{key}={options[key]}: choose one of {', '.join(known)}")
    return options["domain"], options["kind"]


def _load(source: Lists, domain: str, part: str, names: tuple[str, ...]) -> ListedPictures:
    entries = source.read(domain, part)
    check_labels(entries, names, source.place / f"{domain}_{part}")
    return ListedPictures(source.root, entries)
