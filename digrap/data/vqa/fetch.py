"""From the network to data_root/vqa: the files of the ten VQA sets, and a check of those that are there.

Hardly any of them has a published checksum: what the first download of an address was is recorded in
root/downloads.json, {address: {size, sha256, date}}, and compared with whatever is fetched or checked later.
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
from digrap.data.vqa.archives import Item

log = logging.getLogger(__name__)

RECORDS = "downloads.json"
STARTS = {".json": (b"{", b"["), ".zip": (b"PK",), ".gz": (b"\x1f\x8b",)}  # what a file of that name begins with
PICTURES = (".jpg", ".jpeg", ".png")


class Records:
    """What the first download of each address was. Raises DigrapError for a damaged file of records."""

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
                f"{self.path}: cannot be read ({error!r}); mend it, or delete it: then nothing is compared with what "
                "was downloaded before"
            ) from error

    def add(self, url: str, file: Path) -> None:
        """Record the file, or compare it with what is recorded. Raises DigrapError where that cannot be written."""
        if url in self.known:
            return self.compare(url, file)
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        self.known[url] = {"size": file.stat().st_size, "sha256": sha256(file), "date": date}
        try:
            return write_json(self.path, self.known)
        except OSError as error:
            raise DigrapError(f"{self.path}: cannot be written ({error}); give another data_root=…") from error

    def compare(self, url: str, file: Path) -> None:
        """Raise NotObtained where the file is not the recorded one; say nothing of one that is not recorded."""
        first = self.known.get(url)
        if first is None or is_whole(file, Remote(url, size=first["size"], sha256=first["sha256"])):
            return
        raise NotObtained(
            f"{file.name.removesuffix('.part')}: {file.stat().st_size} bytes, sha256 {sha256(file)}, are not what was "
            f"downloaded first ({first['date']}): {first['size']} bytes, sha256 {first['sha256']} of {url}. To "
            f"take it nevertheless, delete that entry in {self.path}; if the file is there, delete it to fetch it anew"
        )


def fetch_sets(root: Path, items: list[Item], mirror: str | None = None, keep_zips: bool = False) -> list[str]:
    """Bring what is not there; returns the paths under `root` that were brought.

    A file that cannot be had keeps no other from being fetched. In the end DigrapError says what is still missing,
    where it may be found and where to put it; what is optional is a line in the log. `mirror`: everything is asked for
    at <mirror>/<host>/<path> instead of its own address. A full disk, or one that cannot be written, ends it at once.
    """
    base = mirror and base_url(mirror)
    with lock_downloads(root):
        records = Records(root)
        todo = by_address(item for item in items if not is_there(root, item))
        brought, troubles, silent = [], {}, set()
        for number, (url, group) in enumerate(todo.items(), 1):
            host = urlsplit(base or url).netloc
            if not url or host in silent:
                reason = f"{host} did not answer" if url else "no address is known"
                troubles |= dict.fromkeys(group, reason)
                continue
            log.info("%s: %d of %d", url, number, len(todo))
            try:
                brought += _bring(root, records, url, group, base, keep_zips)
            except NotObtained as error:
                log.warning("%s", error)
                troubles |= {item: str(error) for item in group if not is_there(root, item)}
                if isinstance(error, Unreachable):
                    silent.add(host)
        _tidy(root, items, keep_zips)
        troubles |= _compare(root, records, items)
        troubles |= _short_of_pictures(root, items)
    _complain(root, troubles, "start the same command again at any time")
    return brought


def by_address(items: Iterable[Item]) -> dict[str, list[Item]]:
    """The items by what has to be fetched for them, those without an address under ""."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.url, []).append(item)
    return found


def is_there(root: Path, item: Item) -> bool:
    """Whether the file is there, or the folder with anything in it: it gets its name when all of it is on disk."""
    path = root / item.path
    return path.is_dir() and any(path.iterdir()) if item.is_folder else path.is_file()


def _compare(root: Path, records: Records, items: list[Item]) -> dict[Item, str]:
    """What of the files that are there is not what was downloaded."""
    troubles = {}
    for item in items:
        if not item.is_folder and is_there(root, item):
            try:
                records.compare(item.record, root / item.path)
            except NotObtained as error:
                troubles[item] = str(error)
    return troubles


def _bring(root: Path, records: Records, url: str, group: list[Item], base: str | None, keep_zips: bool) -> list[str]:
    """Fetch one address and put what is wanted of it in its place."""
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
            target.rmdir()  # it is empty, see is_there
        unpack(path, target.parent, target.name, item.inner)
        if not item.is_folder:
            records.add(item.record, target)
    if archive and not keep_zips:
        path.unlink()
    return [item.path for item in group]


def _tidy(root: Path, items: list[Item], keep_zips: bool) -> None:
    """Remove the folder of the archives where nothing is left in it; say which have done their work."""
    zips = root / "zips"
    if zips.is_dir() and not any(zips.iterdir()):
        zips.rmdir()
    done = [] if keep_zips else [_name(url) for url, group in _archives(items) if all(is_there(root, i) for i in group)]
    if left := [name for name in done if (zips / name).exists()]:  # kept by an earlier start, perhaps on purpose
        log.info("%s: %s no longer needed, may be deleted", zips, ", ".join(left))


def _archives(items: list[Item]) -> Iterable[tuple[str, list[Item]]]:
    return by_address(item for item in items if item.inner).items()


def _name(url: str) -> str:
    """The file's name at its address."""
    return urlsplit(url).path.rpartition("/")[2]


def _check_start(url: str, file: Path) -> None:
    """Raise NotObtained where a page, say a notice that the file has moved, came in place of the file."""
    with open(file, "rb") as opened:
        start = opened.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
    wanted = STARTS.get(Path(_name(url)).suffix)
    if start.startswith(b"<") or (wanted and not start.startswith(wanted)):
        raise NotObtained(f"{url}: the server sent something else ({start[:40]!r} …) than {_name(url)}")


def verify_sets(root: Path, items: list[Item], say: Callable[[str], None]) -> None:
    """Say of each file and folder whether it is there and what was downloaded, of folders how many images they hold.

    Reads only. Raises DigrapError for what is missing or differs, or where there are fewer images than were published.
    """
    records = Records(root)
    troubles = _compare(root, records, items)
    for item in items:
        path = root / item.path
        if not is_there(root, item):
            say(f"{item.path}: missing{' (optional)' if item.optional else ''}")
            if not item.optional:
                troubles[item] = "missing" if item.url else "missing, and no address is known"
        elif item.is_folder:
            say(f"{item.path}: {count_pictures(path)} images" + (f" of {item.count}" if item.count else ""))
        else:
            first = records.known.get(item.record)
            state = "differs" if item in troubles else f"as of {first['date']}" if first else "no download on record"
            say(f"{item.path}: {path.stat().st_size} bytes, {state}")
    troubles |= _short_of_pictures(root, items)
    for url, group in _archives(items):
        archive = root / "zips" / _name(url)
        if archive.exists():
            reason = _fault(records, archive, Remote(url, md5=group[0].md5))
            say(f"zips/{archive.name}: kept, {'differs' if reason else 'whole'}")
            if reason:
                troubles.setdefault(group[0], reason)
    _complain(root, troubles, "without verify_only=true the same command fetches what has an address")


def _fault(records: Records, archive: Path, remote: Remote) -> str:
    """How a kept archive differs from what is published or was downloaded first, or ""."""
    try:
        records.compare(remote.url, archive)
    except NotObtained as error:
        return str(error)
    return "" if is_whole(archive, remote) else f"{archive}: its md5 is not the published {remote.md5}; delete it"


def _short_of_pictures(root: Path, items: list[Item]) -> dict[Item, str]:
    """Folders that hold fewer images than were published."""
    troubles = {}
    for item in items:
        if item.count and is_there(root, item) and (found := count_pictures(root / item.path)) < item.count:
            troubles[item] = f"{found} images of {item.count}: delete the folder to fetch it anew"
    return troubles


def count_pictures(folder: Path) -> int:
    """How many images lie in a folder."""
    with os.scandir(folder) as entries:
        return sum(entry.name.lower().endswith(PICTURES) for entry in entries)


def _complain(root: Path, troubles: dict[Item, str], hint: str) -> None:
    """Raise DigrapError for what is not as it should be, unless it is optional: then say so in the log."""
    lines = []
    for item, reason in troubles.items():
        if item.optional:
            log.info("%s: optional, gone without (%s)", item.path, reason)
        else:
            source = f"{item.url} (or {item.page})" if item.url else item.page
            put = f"as zips/{_name(item.url)}, or unpacked to this path" if item.inner else "to this path"
            by_hand = "" if is_there(root, item) else f"; by hand: from {source} {put}"
            lines.append(f"  {root / item.path}: {reason}{by_hand}")
    if lines:
        raise DigrapError("\n".join([f"{root}: {len(lines)} files or folders missing or not right; {hint}", *lines]))
