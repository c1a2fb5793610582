"""Picture files: read as RGB, and looked for."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from PIL import Image, ImageFile, ImageOps

from digrap.core.errors import DigrapError

log = logging.getLogger(__name__)

# Files that end otherwise are not taken for pictures: which files are must not depend on PIL's version.
ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".jp2", ".j2k", ".jpx", ".png", ".apng", ".gif", ".webp", ".avif",
    ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
)  # fmt: skip
DROPPINGS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"}


def is_dropping(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that an operating system leaves behind."""
    return name.startswith(".") or name.lower() in DROPPINGS


def is_picture(name: str) -> bool:
    """Return whether a file of this name is taken for a picture."""
    return name.lower().endswith(ENDINGS) and not is_dropping(name)


def read_picture(path: str | Path) -> Image.Image:
    """Read a picture in RGB, upright as its EXIF says, transparency over white; of several frames the first.

    Raises DigrapError naming the file.
    """
    fix = "fix or delete the file"
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode in ("I", "F"):  # PIL would clip everything above 255
                fix = "save it with 8 or 16 bits per channel"
                raise ValueError(f"32-bit pixels, mode {image.mode}, have no known range")
            if image.mode.startswith("I;16"):  # PIL would clip these too; the upper byte is the picture
                image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DigrapError(f"{path}: the picture cannot be read ({error}); {fix}") from error


def read_truncated(path: str | Path) -> Image.Image:
    """Read a picture like `read_picture`; of a file that is cut short the part that decodes, the rest grey or black.

    Raises DigrapError for a file of which nothing decodes.
    """
    try:
        return read_picture(path)
    except DigrapError:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            image = read_picture(path)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
        log.debug("%s is truncated: the part that decodes is used", path)
        return image


def absent_files(root: str | Path, files: Iterable[str]) -> list[str]:
    """Return those of `files`, paths under `root`, that are missing. Lists each folder once and opens no file."""
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


def spelled_otherwise(root: str | Path, files: Iterable[str]) -> dict[str, str]:
    """Return {file: its path as the disk has it} of those of `files`, paths under `root`, that are there with their
    accents written otherwise: composed, or apart from the letters (Unicode's NFC and NFD)."""

    @cache
    def paths_in(folder: Path) -> dict[str, Path]:
        return {unicodedata.normalize("NFC", path.name): path for path in folder.iterdir()} if folder.is_dir() else {}

    found = {}
    for file in (name for name in files if not name.isascii()):
        place = Path(root)
        for part in file.split("/"):
            exact = place / part
            place = exact if exact.exists() else paths_in(place).get(unicodedata.normalize("NFC", part), exact)
        if place.exists():
            found[file] = place.relative_to(root).as_posix()
    return found
