"""DomainNet's split lists, read and checked: images, and the label of each class.

Labels come from the lists, never from sorted folders: the official order has cello < cell_phone,
paintbrush < paint_can and trumpet < t-shirt.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.domainnet.facts import ARCHIVES, CLEANED, VERSIONS, fetch_command

SHIPPED = REPO / "data" / "splits" / "domainnet"
PARTS = ("train", "val", "test")
LINE = re.compile(r"([^/\\]+)/([^/\\]+)/([^/\\]+) (\d+)")
SPELLED_ANEW = {"teddy-bear": "teddy bear"}  # t-shirt keeps its hyphen

Entry = tuple[str, int]
"""<domain>/<class>/<file> and label."""


@dataclass(frozen=True)
class Lists:
    """The lists of a version.

    Without `folder` they are the shipped ones (original) or those downloaded to `root`/cleaned (cleaned). `folder`
    holds your own: <domain>_<part>.txt or .txt.xz; version cleaned then means that there is no val list, and that
    validation images are held out from train. Raises DigrapError for an unknown version.
    """

    version: str
    root: Path
    folder: Path | None = None

    def __post_init__(self):
        if self.version not in VERSIONS:
            raise DigrapError(f"dataset.version={self.version}: choose one of {', '.join(VERSIONS)}")

    @property
    def place(self) -> Path:
        """The folder that is read."""
        return self.folder or (SHIPPED if self.version == "original" else self.root / "cleaned")

    def read(self, domain: str, part: str) -> list[Entry]:
        """Return the entries of a domain's train, val or test list, in the list's order.

        Raises DigrapError for a list that is missing, damaged, empty or wrong in a line.
        """
        held_out = self.version == "cleaned" and part != "test"
        name = f"{domain}_{'train' if held_out else part}"
        path, data = self._bytes(name)
        self._check(name, path, data)
        entries = parse(data, path, domain)
        if held_out:
            entries = [entry for entry in entries if in_validation(entry[0]) == (part == "val")]
        if not entries:
            raise DigrapError(f"{path}: lists no image for {domain} {part}; give a list that does")
        return entries

    def _bytes(self, name: str) -> tuple[Path, bytes]:
        for path in (self.place / f"{name}.txt", self.place / f"{name}.txt.xz"):
            if path.is_file():
                try:
                    data = path.read_bytes()
                    return path, lzma.decompress(data) if path.suffix == ".xz" else data
                except (OSError, lzma.LZMAError) as error:
                    raise DigrapError(f"{path}: the list cannot be read ({error}); {self._fix(path)}") from error
        have = sorted(path.name.split(".")[0] for path in self.place.glob("*_*.txt*"))
        raise DigrapError(
            f"{self.place / name}.txt: there is no such list (found: {', '.join(have) or 'none'}); "
            f"{self._fix(self.place)}"
        )

    def _check(self, name: str, path: Path, data: bytes) -> None:
        """Raise DigrapError where a published list is not the one that this version of the code knows."""
        if self.folder:
            return
        if self.version == "original":
            known = json.loads((SHIPPED / "index.json").read_text())["files"][name]
            right = hashlib.sha256(data).hexdigest() == known["sha256"] and data.count(b"\n") == known["lines"]
        else:
            right = (len(data), md5(data)) == CLEANED[name]
        if not right:
            raise DigrapError(f"{path}: the list is damaged (checksum differs); {self._fix(path)}")

    def _fix(self, path: Path) -> str:
        if self.folder:
            return "dataset.lists=null uses the published lists"
        if self.version == "original":
            return (
                f"`git checkout -- {SHIPPED.relative_to(REPO)}` restores the shipped lists; train lists of other "
                "domains: dataset.version=cleaned"
            )
        elsewhere = (
            "" if self.root.name.startswith("domainnet") else f" to data/domainnet/cleaned: copy it to {self.place}"
        )
        return f"`{fetch_command(self.root, self.version)}` fetches it{elsewhere}"


def parse(data: bytes, path: Path, domain: str) -> list[Entry]:
    """Return the entries of a list's text. Raises DigrapError naming a line that is wrong or repeated."""
    entries, seen = [], set()
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DigrapError(f"{path}: not text in UTF-8 ({error}); fix the list") from error
    for number, line in enumerate(lines, 1):
        found = LINE.fullmatch(line)
        if not found or found[1] != domain or found[2].startswith(".") or found[3].startswith("."):
            raise DigrapError(f"{path}:{number}: {line!r} is not `{domain}/<class>/<file> <label>`; fix the list")
        image = line.rpartition(" ")[0]
        if image in seen:
            raise DigrapError(f"{path}:{number}: {image} is listed twice; fix the list")
        seen.add(image)
        entries.append((image, int(found[4])))
    return entries


def class_names(entries: Iterable[Entry], path: Path) -> tuple[str, ...]:
    """Return the classes' folders in label order. Raises DigrapError for a label of two names or of none."""
    names: dict[int, str] = {}
    for image, label in entries:
        name = image.split("/")[1]
        if names.setdefault(label, name) != name:
            raise DigrapError(f"{path}: label {label} is {names[label]} and {name}; fix the list")
    if gap := max(names) + 1 - len(names):
        first = next(label for label in range(len(names)) if label not in names)
        raise DigrapError(f"{path}: no image of label {first} ({gap} such); labels are 0, 1, 2 …")
    if len(set(names.values())) < len(names):
        raise DigrapError(f"{path}: a class has two labels; fix the list")
    return tuple(names[label] for label in range(len(names)))


def check_labels(entries: Iterable[Entry], names: tuple[str, ...], path: str | Path) -> None:
    """Raise DigrapError for an entry whose label is not the training list's label of its class."""
    labels = {name: label for label, name in enumerate(names)}
    for image, label in entries:
        name = image.split("/")[1]
        if labels.get(name) != label:
            has = f"has label {labels[name]}" if name in labels else "is no class"
            raise DigrapError(f"{path}: {image} {label}: {name} {has} in the training list; fix the list")


def in_validation(image: str) -> bool:
    """Whether version=cleaned validates on this image of the train list: a tenth, by sha256 of the listed path."""
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big") % 10 == 0


def spoken(name: str) -> str:
    """Return a class folder's name as text: The_Eiffel_Tower → The Eiffel Tower, teddy-bear → teddy bear."""
    return SPELLED_ANEW.get(name, name.replace("_", " "))


def md5(data: bytes) -> str:
    """Return the hexadecimal md5, as a checksum: also on machines that forbid md5 for security."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def used_lists() -> list[tuple[str, str]]:
    """Return (domain, part) of the lists that the dataset's config reads: real's three, the others' tests."""
    return [("real", part) for part in PARTS] + [(domain, "test") for domain in sorted(ARCHIVES) if domain != "real"]
