"""Download of the VQA sets' files to data_root/vqa, and a check of those that are on disk.

Hardly any of them has a published checksum, so the first download of each address is recorded in root/downloads.json,
{address: {size, sha256, date}}, and whatever is fetched or checked later is compared with it.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from digrap.core.errors import DigrapError
from digrap.core.files import sha256, write_json
from digrap.data.download.disk import lock_downloads
from digrap.data.download.errors import NotObtained, Unreachable
from digrap.data.download.fetch import Remote, base_url, fetch, is_whole
from digrap.data.download.unpack import unpack
from digrap.data.vqa.vqa_set import Item

log = logging.getLogger(__name__)

RECORDS = "downloads.json"
STARTS = {".json": (b"{", b"["), ".zip": (b"PK",), ".gz": (b"\x1f\x8b",)}  # first bytes by suffix
PICTURES = (".jpg", ".jpeg", ".png")


class Records:
    """Sizes and checksums of first downloads by address. Raises DigrapError for a damaged file of records."""

    def __init__(self, root: Path):
        self.path = root / RECORDS
        self.known: dict[str, dict] = {}
        if not self.path.exists():
            return
        try:
            table = json.loads(self.path.read_text())
            self.known = {
                url: {"size": int(entry["size"]), "sha256": str(entry["sha256"]), "date": str(entry["date"])}
                for url, entry in table.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DigrapError(
                f"{self.path}: cannot be read ({error!r}); fix it, or delete it: then files are not compared with "
                "earlier downloads"
            ) from error

    def add(self, url: str, file: Path) -> None:
        """Record the file, or compare it with its record. Raises DigrapError where the records cannot be written."""
        if url in self.known:
            return self.compare(url, file)
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        self.known[url] = {"size": file.stat().st_size, "sha256": sha256(file), "date": date}
        try:
            return write_json(self.path, self.known)
        except OSError as error:
            raise DigrapError(f"{self.path}: cannot be written ({error}); give another data_root=…") from error

    def compare(self, url: str, file: Path) -> None:
        """Raise NotObtained where the file differs from its record; a file without a record passes."""
        first = self.known.get(url)
        if first is None or is_whole(file, Remote(url, size=first["size"], sha256=first["sha256"])):
            return
        raise NotObtained(
            f"{file.name.removesuffix('.part')}: {file.stat().st_size} bytes, sha256 {sha256(file)}, are not what was "
            f"downloaded first ({first['date']}): {first['size']} bytes, sha256 {first['sha256']} of {url}. To "
            f"take it nevertheless, delete that entry in {self.path}; if the file exists, delete it to fetch it again"
        )


def fetch_sets(root: Path, items: list[Item], mirror: str | None = None, keep_zips: bool = False) -> list[str]:
    """Fetch the items that are missing; returns the paths under `root` that were fetched.

    A file that cannot be fetched does not stop the others. In the end DigrapError says what is still missing, where it
    may be found and where to put it; a missing optional item is a line in the log. `mirror`: everything is requested at
    <mirror>/<host>/<path> in place of its own address. A full disk, or one that cannot be written, ends it at once.
    """
    base = mirror and base_url(mirror)
    with lock_downloads(root):
        records = Records(root)
        todo = by_address(item for item in items if not exists(root, item))
        fetched, faults, silent = [], {}, set()
        for number, (url, group) in enumerate(todo.items(), 1):
            host = urlsplit(base or url).netloc
            if not url or host in silent:
                reason = f"{host} did not answer" if url else "no address is known"
                faults |= dict.fromkeys(group, reason)
                continue
            log.info("%s: %d of %d", url, number, len(todo))
            try:
                fetched += _fetch(root, records, url, group, base, keep_zips)
            except NotObtained as error:
                log.warning("%s", error)
                faults |= {item: str(error) for item in group if not exists(root, item)}
                if isinstance(error, Unreachable):
                    silent.add(host)
        _tidy(root, items, keep_zips)
        faults |= _compare(root, records, items)
        faults |= _incomplete_folders(root, items)
    _report_faults(root, faults, "the same command can be started again at any time")
    return fetched


def by_address(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Return the items by the address to fetch for them, those without an address under ""."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.url, []).append(item)
    return found


def exists(root: Path, item: Item) -> bool:
    """Return whether the file exists, or the folder with anything in it: a folder gets its name when it is complete."""
    path = root / item.path
    return path.is_dir() and any(path.iterdir()) if item.is_folder else path.is_file()


def _compare(root: Path, records: Records, items: list[Item]) -> dict[Item, str]:
    """Return the files that differ from their first download, each with the reason."""
    faults = {}
    for item in items:
        if not item.is_folder and exists(root, item):
            try:
                records.compare(item.record, root / item.path)
            except NotObtained as error:
                faults[item] = str(error)
    return faults


def _fetch(root: Path, records: Records, url: str, group: list[Item], base: str | None, keep_zips: bool) -> list[str]:
    """Fetch one address and put its items in their places; returns the items' paths."""
    source = Remote(base + url.partition("://")[2] if base else url, md5=group[0].md5)
    archive = group[0].inner != ""
    path = root / "zips" / _name(url) if archive else root / group[0].path

    def accept(file: Path) -> None:
        _check_start(url, file)
        if not source.md5:
            records.add(url, file)

    if path.exists():
        records.compare(url, path)
    fetch(source, path, accept)
    for item in group if archive else ():
        target = root / item.path
        if item.is_folder and target.is_dir():
            target.rmdir()  # it is empty, see exists
        unpack(path, target.parent, target.name, item.inner)
        if not item.is_folder:
            records.add(item.record, target)
    if archive and not keep_zips:
        path.unlink()
    return [item.path for item in group]


def _tidy(root: Path, items: list[Item], keep_zips: bool) -> None:
    """Remove the folder of archives where it is empty; log which archives are no longer needed."""
    zips = root / "zips"
    if zips.is_dir() and not any(zips.iterdir()):
        zips.rmdir()
    done = [] if keep_zips else [_name(url) for url, group in _archives(items) if all(exists(root, i) for i in group)]
    if left := [name for name in done if (zips / name).exists()]:  # kept by an earlier start, perhaps on purpose
        log.info("%s: %s no longer needed, may be deleted", zips, ", ".join(left))


def _archives(items: list[Item]) -> Iterable[tuple[str, list[Item]]]:
    return by_address(item for item in items if item.inner).items()


def _name(url: str) -> str:
    """Return the file's name at its address."""
    return urlsplit(url).path.rpartition("/")[2]


def _check_start(url: str, file: Path) -> None:
    """Raise NotObtained where the server sent a page, say a notice that the file has moved, in place of the file."""
    with open(file, "rb") as opened:
        start = opened.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
    wanted = STARTS.get(Path(_name(url)).suffix)
    if start.startswith(b"<") or (wanted and not start.startswith(wanted)):
        raise NotObtained(f"{url}: the server sent something else ({start[:40]!r} …) than {_name(url)}")


def verify_sets(root: Path, items: list[Item], show: Callable[[str], None]) -> None:
    """Show a line for each file and folder: whether it exists, its size and download, the images in a folder.

    Only reads. Raises DigrapError for what is missing or differs, and for folders with fewer images than published.
    """
    records = Records(root)
    faults = _compare(root, records, items)
    for item in items:
        path = root / item.path
        if not exists(root, item):
            show(f"{item.path}: missing{' (optional)' if item.optional else ''}")
            if not item.optional:
                faults[item] = "missing" if item.url else "missing, and no address is known"
        elif item.is_folder:
            show(f"{item.path}: {count_pictures(path)} images" + (f" of {item.count}" if item.count else ""))
        else:
            first = records.known.get(item.record)
            state = "differs" if item in faults else f"as of {first['date']}" if first else "no download on record"
            show(f"{item.path}: {path.stat().st_size} bytes, {state}")
    faults |= _incomplete_folders(root, items)
    for url, group in _archives(items):
        archive = root / "zips" / _name(url)
        if archive.exists():
            reason = _difference(records, archive, Remote(url, md5=group[0].md5))
            show(f"zips/{archive.name}: kept, {'differs' if reason else 'whole'}")
            if reason:
                faults.setdefault(group[0], reason)
    _report_faults(root, faults, "without verify_only=true the same command fetches what has an address")


def _difference(records: Records, archive: Path, remote: Remote) -> str:
    """Return how a kept archive differs from the published or first downloaded one, or ""."""
    try:
        records.compare(remote.url, archive)
    except NotObtained as error:
        return str(error)
    return "" if is_whole(archive, remote) else f"{archive}: its md5 is not the published {remote.md5}; delete it"


def _incomplete_folders(root: Path, items: list[Item]) -> dict[Item, str]:
    """Return the folders that hold fewer images than were published, each with the reason."""
    faults = {}
    for item in items:
        if item.count and exists(root, item) and (found := count_pictures(root / item.path)) < item.count:
            faults[item] = f"{found} images of {item.count}: delete the folder to fetch it again"
    return faults


def count_pictures(folder: Path) -> int:
    """Return the number of images in a folder."""
    with os.scandir(folder) as entries:
        return sum(entry.name.lower().endswith(PICTURES) for entry in entries)


def _report_faults(root: Path, faults: dict[Item, str], hint: str) -> None:
    """Raise DigrapError for missing and wrong items, with how to get each; optional ones are logged."""
    lines = []
    for item, reason in faults.items():
        if item.optional:
            log.info("%s: optional, not fetched (%s)", item.path, reason)
        else:
            source = f"{item.url} (or {item.page})" if item.url else item.page
            put = f"as zips/{_name(item.url)}, or unpacked to this path" if item.inner else "to this path"
            by_hand = "" if exists(root, item) else f"; by hand: from {source} {put}"
            lines.append(f"  {root / item.path}: {reason}{by_hand}")
    if lines:
        raise DigrapError("\n".join([f"{root}: {len(lines)} files or folders missing or wrong; {hint}", *lines]))
