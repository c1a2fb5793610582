"""Picture files are looked at before a run begins: a broken one is found before the night, not after it.

Of each file the header is read, and its end where that shows that the file is whole; only a file that looks wrong is
decoded. What was found is kept by path, size and time of change, so that the runs of a sweep look once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.progress import track

log = logging.getLogger(__name__)
THREADS = 16
TAIL = 64  # bytes at a file's end in which its closing mark is looked for
MOVING = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose several frames are a moving picture
CANNOT = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
Stamp = tuple[int, int]  # size and time of change


@dataclass
class Found:
    """What is known of picture files: the stamp of each, why broken ones cannot be read, and which ones move."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)

    @classmethod
    def kept(cls, file: Path) -> Found:
        """What an earlier check has written; nothing where that is missing or damaged."""
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
            stamps = {path: (int(size), int(changed)) for path, (size, changed) in plain["stamps"].items()}
            return cls(stamps, {str(path): str(why) for path, why in plain["broken"].items()}, set(plain["moving"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def keep(self, file: Path) -> None:
        """Write it for later checks, where the folder can be written."""
        try:
            write_json(file, {"stamps": self.stamps, "broken": self.broken, "moving": sorted(self.moving)})
        except OSError as error:
            log.info("%s cannot be written (%s): the next run checks the pictures again", file, error.strerror)


def look_at(files: Iterable[str], read: Callable[[str], Any], title: str, cache: Path) -> Found:
    """What is found of picture files, of which `read` raises DigrapError for one that it cannot read. Only those that
    are new, or have changed since an earlier check whose results lie in the folder `cache`, are opened."""
    names = sorted(set(files))
    if not names:
        return Found()
    place = f"{read.__name__} {os.path.commonpath({Path(name).absolute().parent for name in names})}"
    file = Path(cache) / f"{sha256(place.encode()).hexdigest()[:16]}.json"
    known = Found.kept(file)
    with ThreadPoolExecutor(THREADS) as pool:
        now = dict(zip(names, pool.map(_stamp, names, chunksize=64), strict=True))
        new = [name for name in names if now[name] is None or known.stamps.get(name) != now[name]]
        looks = pool.map(_look, new, chunksize=16)
        seen = (
            list(track(looks, f"{title}: checking pictures", total=len(new), last=False, unit="pictures"))
            if new
            else []
        )
    for name, (fine, moves) in zip(new, seen, strict=True):
        known.broken.pop(name, None)
        known.moving.discard(name)
        known.moving |= {name} if moves else set()
        if not fine:  # in this thread: a reader may set options of PIL for the whole process
            try:
                read(name)
            except DigrapError as error:
                known.broken[name] = str(error)
        if now[name] is not None:
            known.stamps[name] = now[name]
    if new:
        known.keep(file)
    return _of(known, names)


def _of(known: Found, names: Sequence[str]) -> Found:
    """The part of what is known that is about these files."""
    broken = {name: known.broken[name] for name in names if name in known.broken}
    return Found({name: known.stamps[name] for name in names if name in known.stamps}, broken, known.moving & {*names})


def _stamp(name: str) -> Stamp | None:
    with contextlib.suppress(OSError):
        state = Path(name).stat()
        return state.st_size, state.st_mtime_ns
    return None


def _look(name: str) -> tuple[bool, bool]:
    """(whether a file looks like a whole picture, whether it is a moving one)."""
    try:
        with open(name, "rb") as file, Image.open(file) as image:
            moves = image.format in MOVING and getattr(image, "n_frames", 1) > 1
            return image.mode not in ("I", "F") and _is_closed(image.format, file.fileno()), moves
    except CANNOT:
        return False, False


def _is_closed(form: str | None, handle: int) -> bool:
    """Whether a file has the mark at its end that its format closes with; False where the format has none."""
    size = os.fstat(handle).st_size
    tail = os.pread(handle, TAIL, max(0, size - TAIL))
    if form == "WEBP":
        return int.from_bytes(os.pread(handle, 4, 4), "little") + 8 <= size
    if form == "GIF":
        return tail.rstrip(b"\0").endswith(b";")
    marks = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
    return form in marks and marks[form] in tail
