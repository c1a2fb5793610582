"""Checks of downloaded files of questions: whether they are what their name says, and whole."""

from __future__ import annotations

import csv
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.json_lines import check_json
from digrap.data.download.errors import NotObtained

STARTS = {".json": (b"{", b"["), ".zip": (b"PK",), ".gz": (b"\x1f\x8b",)}  # first bytes by suffix


def check_start(url: str, name: str, file: Path) -> None:
    """Raise NotObtained where the server sent a page, say a notice that the file has moved, in place of the file."""
    with open(file, "rb") as opened:
        start = opened.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
    wanted = STARTS.get(Path(name).suffix)
    if start.startswith(b"<") or (wanted and not start.startswith(wanted)):
        raise NotObtained(f"{url}: the server sent something else ({start[:40]!r} …) than {name}")


def check_whole(name: str, file: Path) -> None:
    """Raise NotObtained for a JSON file or a CSV table, as `name` ends, that cannot be read to its end or is empty."""
    try:
        if name.endswith(".json"):
            check_json(file, "JSON")
        elif name.endswith(".csv"):
            _check_table(file)
    except DigrapError as error:
        raise NotObtained(str(error)) from error


def _check_table(file: Path) -> None:
    try:
        with open(file, encoding="utf-8", newline="") as opened:
            rows = csv.reader(opened)
            head = last = next(rows, [])
            for row in rows:
                last = row or last
    except (csv.Error, UnicodeDecodeError) as error:
        raise DigrapError(f"{file} is not a table in UTF-8 ({error}): download it again") from error
    if not head or len(last) != len(head):
        raise DigrapError(f"{file} is cut off: {len(last)} cells in its last line, {len(head)} in its first")
