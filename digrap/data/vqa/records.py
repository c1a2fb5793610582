"""Records of first downloads: {address: {size, sha256, date}} in root/downloads.json, with which later ones compare."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.files import sha256, write_json
from digrap.data.download.errors import NotObtained

RECORDS = "downloads.json"


class Records:
    """Sizes and checksums of first downloads by address. Raises DigrapError for a damaged file of records.

    The record of a file that was read to its end says `parsed`; records of earlier releases do not.
    """

    def __init__(self, root: Path):
        self.path = root / RECORDS
        self.known: dict[str, dict] = {}
        self._digests: dict[tuple[int, ...], str] = {}
        if not self.path.exists():
            return
        try:
            table = json.loads(self.path.read_text())
            self.known = {
                url: {"size": int(entry["size"]), "sha256": str(entry["sha256"]), "date": str(entry["date"])}
                | ({"parsed": True} if entry.get("parsed") is True else {})
                for url, entry in table.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DigrapError(
                f"{self.path}: cannot be read ({error!r}); fix it, or delete it to skip the comparison with earlier "
                "downloads"
            ) from error

    def add(self, url: str, file: Path, parsed: bool = False) -> None:
        """Record the file, or compare it with its record. Raises DigrapError where the records cannot be written."""
        before = self.known.get(url)
        if before:
            self.compare(url, file)
        else:
            date = datetime.datetime.now(datetime.UTC).date().isoformat()
            self.known[url] = {"size": file.stat().st_size, "sha256": self._sha256(file), "date": date}
        if parsed:
            self.known[url] = self.known[url] | {"parsed": True}
        if self.known[url] == before:
            return
        try:
            write_json(self.path, self.known)
        except OSError as error:
            raise DigrapError(f"{self.path}: cannot be written ({error}); give another data_root=…") from error

    def note_parsed(self, url: str, file: Path) -> None:
        """Complete the record of this file, which an earlier release made: it is not read again at each start."""
        if url in self.known and self.matches(url, file):
            self.add(url, file, parsed=True)

    def forget(self, url: str, file: Path) -> None:
        """Drop the record of this file, which is damaged: the next download is the first good one."""
        if url in self.known and self.matches(url, file):
            del self.known[url]

    def matches(self, url: str, file: Path) -> bool:
        """Return whether the file is the recorded one, or has no record."""
        first = self.known.get(url)
        return first is None or (file.stat().st_size == first["size"] and self._sha256(file) == first["sha256"])

    def is_parsed(self, url: str, file: Path) -> bool:
        """Return whether the file is a recorded one that was read to its end."""
        return self.known.get(url, {}).get("parsed", False) and self.matches(url, file)

    def compare(self, url: str, file: Path) -> None:
        """Raise NotObtained where the file differs from its record; a file without a record passes."""
        if self.matches(url, file):
            return
        first, name = self.known[url], str(file).removesuffix(".part")
        raise NotObtained(
            f"{name}: {file.stat().st_size} bytes, sha256 {self._sha256(file)}, are not what was downloaded first "
            f"({first['date']}): {first['size']} bytes, sha256 {first['sha256']} of {url}. To use it anyway, delete "
            f"that entry in {self.path}; if the file exists, move it away to fetch it again"
        )

    def _sha256(self, file: Path) -> str:
        """Return the file's digest, computed once while its size and time stay."""
        state = file.stat()
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = sha256(file)
        return self._digests[key]
