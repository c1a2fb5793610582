"""Large files over HTTP: resumed, checked, unpacked safely. Nothing partial ever has a final name."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import stat
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from digrap.errors import DigrapError
from digrap.files import write_json
from digrap.progress import track

log = logging.getLogger(__name__)

MEBIBYTE = 2**20
TRIES = 5  # without a new byte in between
WHOLE = 2  # downloads of the whole file before its checksum is believed to differ for good
PAUSE = 2.0  # seconds before the second try, then doubled
TIMEOUT = 60.0  # seconds without a byte
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)  # the network gives none of them


@dataclass(frozen=True)
class Remote:
    """A published file: its address, size in bytes and md5."""

    url: str
    size: int
    md5: str


class Setback(Exception):
    """A try that failed in a way in which the next may not."""


def fetch(remote: Remote, path: Path) -> None:
    """Bring `path` from the network unless it is there with the right size and md5.

    Bytes go to <path>.part, which a later call (or start) goes on with; only a file with the right checksum gets the
    name `path`. A damaged or short one is named in the log and fetched anew. Raises DigrapError where that does not
    help, where the server refuses, and where the disk is too small.
    """
    if path.exists():
        if is_whole(path, remote):
            return
        log.warning("%s: damaged (size or md5 differs); it is fetched anew", path)
        path.unlink()
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    need_space(path.parent, remote.size - _size(part))
    damaged = failed = 0
    while True:
        before = _size(part)
        try:
            if before != remote.size:
                _receive(remote, part)
            if is_whole(part, remote):
                break
            forget(part)
            damaged += 1
            if damaged == WHOLE:
                raise DigrapError(
                    f"{remote.url}: {damaged} downloads have another md5 than {remote.md5}; the server's file is not "
                    "the published one, or the line damages it: give another mirror=URL"
                )
            log.warning("%s: the download is damaged (md5 differs); it is fetched anew", path.name)
        except (Setback, OSError, http.client.HTTPException) as error:
            _stop_or_wait(error, remote, part, failed := 1 if _size(part) > before else failed + 1)
    os.replace(part, path)
    forget(part)


def _stop_or_wait(error: Exception, remote: Remote, part: Path, failed: int) -> None:
    """Sleep before another try. Raises DigrapError where none would help."""
    if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
        raise DigrapError(f"{remote.url}: the server says {error.code} {error.reason}; give a mirror=URL") from error
    if isinstance(error, OSError) and error.errno in DISK:
        raise DigrapError(f"{part}: cannot be written ({error}); give another data_root=…") from error
    if failed == TRIES:
        raise DigrapError(
            f"{remote.url}: {failed} tries failed, the last with: {error}; start the same command again later, it goes "
            f"on from {_size(part)} of {remote.size} bytes, or give a mirror=URL"
        ) from error
    log.warning("%s: %s; try %d of %d", remote.url, error, failed + 1, TRIES)
    time.sleep(PAUSE * 2 ** (failed - 1))


def _receive(remote: Remote, part: Path) -> None:
    """One request; what arrives is added to `part`. Raises Setback where the connection ends before the file does."""
    notes = part.with_name(part.name + ".json")
    have, headers = _size(part), {"User-Agent": "digrap", "Accept-Encoding": "identity"}
    if have > remote.size:
        forget(part)
        raise Setback(f"{part.name} is longer than the published file; it is fetched anew")
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag := _noted(notes, remote.url):
            headers["If-Range"] = tag  # else a file that changed on the server would be joined to the old one's start
    try:
        response = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            forget(part)
            raise Setback("the server has no such range; the file is fetched anew") from error
        raise
    with response:
        start = _start_of(response, have)
        _expect(response, start, remote)
        if have and not start:
            log.info("%s: the server does not go on from byte %d; from the start again", remote.url, have)
        tag = response.headers.get("ETag", "")
        write_json(notes, {"url": remote.url, "etag": "" if tag.startswith("W/") else tag})
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            pieces, mebibytes = _copy(response, file, remote.size - start), (remote.size - start) // MEBIBYTE
            name = f"{part.name.removesuffix('.part')} (MiB)"
            for _ in track(pieces, name, total=mebibytes) if mebibytes else pieces:
                pass
    if (have := _size(part)) < remote.size:
        raise Setback(f"the connection ended at byte {have} of {remote.size}")


def _start_of(response: http.client.HTTPResponse, have: int) -> int:
    """The first byte of the answer: 0, or `have`. Raises Setback for any other."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != have:
        raise Setback(f"the server sent another range than bytes {have}-")
    return have


def _expect(response: http.client.HTTPResponse, start: int, remote: Remote) -> None:
    """Raise Setback where the server says that its file has another size."""
    length = response.headers.get("Content-Length")
    if length and start + int(length) != remote.size:
        raise Setback(f"the server's file has {start + int(length)} bytes, the published one {remote.size}")


def _copy(response: http.client.HTTPResponse, file, left: int) -> Iterator[None]:
    """Write what arrives, `left` bytes at most; one item a mebibyte. read1, as a cut line should lose no byte."""
    done = 0
    while left and (data := response.read1(min(left, MEBIBYTE))):
        file.write(data)
        left -= len(data)
        done += len(data)
        for _ in range(done // MEBIBYTE):
            yield
        done %= MEBIBYTE


def is_whole(path: Path, remote: Remote) -> bool:
    """Whether the file has the published size and md5."""
    if _size(path) != remote.size:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == remote.md5


def forget(part: Path) -> None:
    """Remove a partial download and what is noted of it."""
    for path in (part, part.with_name(part.name + ".json")):
        path.unlink(missing_ok=True)


def unpack(archive: Path, root: Path, folder: str) -> None:
    """Unpack `folder`/… of a zip to root/`folder`, which must not be there; other entries are left out.

    The files go to root/.`folder`.partial, renamed at the end: root/`folder` is whole or absent. Raises DigrapError for
    an entry that points outside or is a link, before anything is written, for a damaged zip and for too small a disk.
    """
    partial = root / f".{folder}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a start that was killed
    try:
        with zipfile.ZipFile(archive) as file:
            members = [info for info in file.infolist() if _is_safe(info, archive) and _parts(info)[0] == folder]
            if not any(not info.is_dir() for info in members):
                raise DigrapError(f"{archive}: holds no file in {folder}/; give another mirror=URL")
            need_space(root, sum(info.file_size for info in members) + 4096 * len(members))
            for info in track(members, f"unpacking {archive.name}"):
                file.extract(info, partial)
        os.sync()  # a name that survives a power cut stands for files that do
        (partial / folder).rename(root / folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DigrapError(f"{archive}: cannot be unpacked ({error}); delete it and start again") from error
    except OSError as error:
        raise DigrapError(f"{archive}: cannot be unpacked to {root} ({error}); make room, then start again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    return PurePosixPath(info.filename).parts or ("",)


def _is_safe(info: zipfile.ZipInfo, archive: Path) -> bool:
    """True. Raises DigrapError for an entry that could reach outside the folder it is unpacked into."""
    name, mode = info.filename, info.external_attr >> 16
    outside = ".." in _parts(info) or name.startswith("/") or "\\" in name or ":" in _parts(info)[0]
    link = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
    if outside or link:
        what = "points outside the folder" if outside else "is a link or a device"
        raise DigrapError(f"{archive}: the entry {name!r} {what}; nothing was unpacked, give another mirror=URL")
    return True


def need_space(folder: Path, size: int) -> None:
    """Raise DigrapError where fewer than `size` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DigrapError(
            f"{folder}: {size / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free; "
            "make room or give another data_root=…"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _noted(notes: Path, url: str) -> str:
    """The ETag under which the start of the file came from this address, or ''."""
    try:
        noted = json.loads(notes.read_text())
        return noted["etag"] if noted["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
