"""Download of the VQA sets' files to data_root/vqa, and a check of those that are on disk.

Hardly any of them has a published checksum: files are read to their end before they are taken, and compared with the
first download of their address (`Records`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from digrap.core.errors import DigrapError
from digrap.data.download.disk import lock_downloads
from digrap.data.download.errors import NotObtained, Unreachable
from digrap.data.download.fetch import Remote, base_url, difference, fetch
from digrap.data.download.unpack import AGAIN, unpack
from digrap.data.images import is_picture
from digrap.data.vqa.file_checks import check_start, check_whole
from digrap.data.vqa.records import Records
from digrap.data.vqa.vqa_set import Item

log = logging.getLogger(__name__)

Damaged = dict[Item, str]  # files that cannot be read, each with the reason


def fetch_sets(root: Path, items: list[Item], mirror: str | None = None, keep_zips: bool = False) -> list[str]:
    """Fetch the items that are missing or damaged; returns the paths under `root` that were fetched.

    A damaged file stays until a whole one is there, and afterwards under another name. A file that cannot be fetched
    does not stop the others. In the end DigrapError says what is still missing, where it may be found and where to put
    it; a missing optional item is a line in the log. `mirror`: everything is requested at <mirror>/<host>/<path> in
    place of its own address. A full disk, or one that cannot be written, ends it at once.
    """
    base = mirror and base_url(mirror)
    with lock_downloads(root):
        records = Records(root)
        damaged = find_damaged(root, records, items)
        for item in items:
            if item not in damaged and not item.is_folder and exists(root, item):
                records.note_parsed(item.record, root / item.path)
        todo = by_address(item for item in items if item in damaged or not exists(root, item))
        fetched, faults, silent = [], {}, set()
        for number, (url, group) in enumerate(todo.items(), 1):
            host = urlsplit(base or url).netloc
            if not url or (host in silent and not _archive(root, url).exists()):
                reason = f"{host} did not answer" if url else "no address is known"
                faults |= {item: f"{damaged[item]}; {reason}" if item in damaged else reason for item in group}
                continue
            log.info("%s: %d of %d", url, number, len(todo))
            try:
                fetched += _fetch(root, records, url, group, damaged, base, keep_zips)
            except NotObtained as error:
                log.warning("%s", error)
                left = find_damaged(root, records, group)
                faults |= {item: str(error) for item in group if item in left or not exists(root, item)}
                if isinstance(error, Unreachable):
                    silent.add(host)
        _tidy(root, items, keep_zips)
        damaged = {item: reason for item, reason in faults.items() if item in damaged}
        faults = _compare(root, records, items) | _incomplete_folders(root, items) | faults
    _report_faults(root, faults, damaged, "the same command can be run again at any time")
    return fetched


def by_address(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Return the items by the address to fetch for them, those without an address under ""."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.url, []).append(item)
    return found


def exists(root: Path, item: Item) -> bool:
    """Return whether the file exists, or the folder with a picture in it: its name says that it was unpacked."""
    path = root / item.path
    return path.is_dir() and any(_pictures(path)) if item.is_folder else path.is_file()


def find_damaged(root: Path, records: Records, items: Iterable[Item]) -> Damaged:
    """Return the files that cannot be read to their end; those that are recorded as read are not read again."""
    faults = {}
    for item in items:
        path = root / item.path
        if not item.is_folder and exists(root, item) and not records.is_parsed(item.record, path):
            try:
                check_whole(item.path, path)
            except NotObtained as error:
                faults[item] = str(error)
    return faults


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


def _fetch(
    root: Path, records: Records, url: str, group: list[Item], damaged: Damaged, base: str | None, keep_zips: bool
) -> list[str]:
    """Fetch one address and put its items in their places; returns the items' paths."""
    for item in group:
        if item in damaged:
            records.forget(item.record, root / item.path)
    source = Remote(base + url.partition("://")[2] if base else url, md5=group[0].md5)
    if group[0].inner:
        _fetch_archive(root, records, source, group, keep_zips)
    else:
        (item,) = group
        path = root / item.path
        hint = "try again later, or give another mirror=URL"
        fetch(source, path, partial(_accept, records, item, source.url, hint), damaged.get(item, ""))
        records.add(item.record, path, parsed=True)
    return [item.path for item in group]


def _fetch_archive(root: Path, records: Records, source: Remote, group: list[Item], keep_zips: bool) -> None:
    """Fetch an archive unless it is there, and unpack its items. Only one that was downloaded is deleted afterwards."""
    url = group[0].url
    path = _archive(root, url)

    def accept(file: Path) -> None:
        check_start(url, path.name, file)
        if not source.md5:
            records.compare(url, file)

    if path.exists():
        records.compare(url, path)
    downloaded = fetch(source, path, accept)
    for item in group:
        target = root / item.path
        unpack(path, target.parent, target.name, item.inner, partial(_accept, records, item, f"{path}", AGAIN))
        if not item.is_folder:
            records.add(item.record, target, parsed=True)
    if downloaded and not source.md5:
        records.add(url, path)
    if downloaded and not keep_zips:
        path.unlink()


def _accept(records: Records, item: Item, source: str, hint: str, file: Path) -> None:
    """Raise NotObtained for a file that is not what its name says, not whole, or not what was downloaded first."""
    if item.is_folder:
        return
    name = Path(item.path).name
    check_start(source, name, file)
    try:
        check_whole(name, file)
    except NotObtained as error:
        raise NotObtained(f"{source}: {str(error).replace(str(file), name)}; {hint}") from error
    records.compare(item.record, file)


def _tidy(root: Path, items: list[Item], keep_zips: bool) -> None:
    """Remove the folder of archives where it is empty; log which archives are no longer needed."""
    zips = root / "zips"
    if zips.is_dir() and not any(zips.iterdir()):
        zips.rmdir()
    done = [] if keep_zips else [url for url, group in _archives(items) if all(exists(root, item) for item in group)]
    if left := [_name(url) for url in done if _archive(root, url).exists()]:  # the user's, or kept by an earlier start
        log.info("%s: %s is no longer needed and may be deleted", zips, ", ".join(left))


def _archives(items: list[Item]) -> Iterable[tuple[str, list[Item]]]:
    return by_address(item for item in items if item.inner).items()


def _archive(root: Path, url: str) -> Path:
    """Return the path of the archive of an address."""
    return root / "zips" / _name(url)


def _name(url: str) -> str:
    """Return the file's name at its address."""
    return urlsplit(url).path.rpartition("/")[2]


def verify_sets(root: Path, items: list[Item], show: Callable[[str], None]) -> None:
    """Show a line for each file and folder: whether it exists, its size and download, the images in a folder.

    Only reads. Raises DigrapError for what is missing or differs, and for folders with fewer images than published.
    """
    records = Records(root)
    damaged = find_damaged(root, records, items)
    faults = _compare(root, records, items) | damaged
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
            state = f"as of {first['date']}" if first else "no download on record"
            if item in faults:
                state = "damaged" if item in damaged else "differs"
            show(f"{item.path}: {path.stat().st_size} bytes, {state}")
    faults |= _incomplete_folders(root, items)
    for url, group in _archives(items):
        archive = _archive(root, url)
        if archive.exists():
            reason = _difference(records, archive, Remote(url, md5=group[0].md5))
            show(f"zips/{archive.name}: kept, {'differs' if reason else 'whole'}")
            if reason:
                faults.setdefault(group[0], reason)
    _report_faults(root, faults, damaged, "without verify_only=true the same command downloads what has an address")


def _difference(records: Records, archive: Path, remote: Remote) -> str:
    """Return how a kept archive differs from the published or first downloaded one, or ""."""
    try:
        records.compare(remote.url, archive)
    except NotObtained as error:
        return str(error)
    found = difference(archive, remote)
    return found and f"{found}; delete it or move it away"


def _incomplete_folders(root: Path, items: list[Item]) -> dict[Item, str]:
    """Return the folders that hold fewer images than were published, each with the reason."""
    faults = {}
    for item in items:
        if item.count and exists(root, item) and (found := count_pictures(root / item.path)) < item.count:
            faults[item] = f"{found} images of {item.count}: delete the folder, or move it away, to fetch it again"
    return faults


def count_pictures(folder: Path) -> int:
    """Return the number of images in a folder."""
    return sum(1 for _ in _pictures(folder))


def _pictures(folder: Path) -> Iterator[str]:
    """Yield the names of the images in a folder."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if is_picture(entry.name))


def _report_faults(root: Path, faults: dict[Item, str], damaged: Damaged, hint: str) -> None:
    """Raise DigrapError for missing and wrong items, with how to get each; missing optional ones are logged."""
    lines = []
    for item, reason in faults.items():
        there = exists(root, item)
        if item.optional and not there:
            log.info("%s: optional, not fetched (%s)", item.path, reason)
        else:
            source = f"{item.url} (or {item.page})" if item.url else item.page
            put = f"as zips/{_name(item.url)}, or unpacked to this path" if item.inner else "to this path"
            by_hand = "" if there and item not in damaged else f"; by hand: from {source} {put}"
            place = "" if reason.startswith(f"{root / item.path}") else f"{root / item.path}: "
            lines.append(f"  {place}{reason}{by_hand}")
    if lines:
        raise DigrapError("\n".join([f"{root}: {len(lines)} files or folders missing or wrong; {hint}", *lines]))
