"""Large files over HTTP: resumed, checked, unpacked safely. Nothing partial ever has a final name."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import json
import logging
import math
import os
import re
import shutil
import socket
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.progress import track

log = logging.getLogger(__name__)

MEBIBYTE = 2**20
TRIES = 5  # without a new byte in between
WHOLE = 2  # downloads of the whole file before its checksum is believed to differ for good
PAUSE = 2.0  # seconds before the second try, then doubled
TIMEOUT = 60.0  # seconds without a byte
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)  # the network gives none of them


@dataclass(frozen=True)
class Remote:
    """A published file: its address, and its size in bytes, md5 and sha256 where they are known."""

    url: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def checksum(self) -> tuple[str, str]:
        """("md5", …) or ("sha256", …); the second is "" where none is known."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5 or "")


class RetryableError(Exception):
    """A try that failed in a way in which the next may not."""


class NotObtained(DigrapError):
    """This file cannot be had from where it was looked for; others may be."""


class Unreachable(NotObtained):
    """Nor can any other of the same server, by all signs."""


def fetch(remote: Remote, path: Path, accept: Callable[[Path], None] | None = None) -> None:
    """Bring `path` from the network unless it is there and what is known of it holds.

    Bytes go to <path>.part, which a later call (or start) goes on with; only a file with the right checksum that
    `accept`, if given, does not refuse (by NotObtained) gets the name `path`. A damaged or short one is named in the
    log and fetched anew. Raises NotObtained where that does not help and where the server refuses, Unreachable where it
    does not answer, DigrapError where the disk is too small or cannot be written.
    """
    kind, wanted = remote.checksum
    if path.exists():
        if is_whole(path, remote):
            return
        log.warning("%s: damaged (size or %s differs); it is fetched anew", path, kind)
        path.unlink()
    part = path.with_name(path.name + ".part")
    make_folder(path.parent)
    need_space(path.parent, (remote.size or 0) - _size(part))
    damaged = failed = 0
    while True:
        before = _size(part)
        try:
            if not before or before != (remote.size or _noted(part, remote.url).get("size")):
                _receive(remote, part)
            if is_whole(part, remote):
                break
            found = _digest(part, kind)
            forget(part)
            damaged += 1
            if damaged == WHOLE:
                raise NotObtained(
                    f"{remote.url}: {damaged} downloads have another {kind} than {wanted} (the last {found}); the "
                    "server's file is not the published one, or the line damages it: give another mirror=URL"
                )
            log.warning("%s: the download is damaged (%s differs); it is fetched anew", path.name, kind)
        except (RetryableError, OSError, http.client.HTTPException) as error:
            _stop_or_wait(error, remote, part, failed := 1 if _size(part) > before else failed + 1)
    if accept:
        try:
            accept(part)
        except NotObtained:
            forget(part)
            raise
    os.replace(part, path)
    forget(part)


def _stop_or_wait(error: Exception, remote: Remote, part: Path, failed: int) -> None:
    """Sleep before another try. Raises DigrapError where none would help."""
    if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
        raise NotObtained(f"{remote.url}: the server says {error.code} {error.reason}; give a mirror=URL") from error
    if isinstance(error, OSError) and error.errno in DISK:
        raise DigrapError(f"{part}: cannot be written ({error}); give another data_root=…") from error
    no_such_host = isinstance(getattr(error, "reason", None), socket.gaierror)  # hardly ever passes
    if failed == (2 if no_such_host else TRIES):
        raise Unreachable(
            f"{remote.url}: {failed} tries failed, the last with: {error}; start the same command again later, it goes "
            f"on from byte {_size(part)}, or give a mirror=URL"
        ) from error
    log.warning("%s: %s; try %d of %d", remote.url, error, failed + 1, 2 if no_such_host else TRIES)
    time.sleep(PAUSE * 2 ** (failed - 1))


def _receive(remote: Remote, part: Path) -> None:
    """One request; what arrives is added to `part`. Raises RetryableError where the connection ends too early."""
    have, headers = _size(part), {"User-Agent": "digrap", "Accept-Encoding": "identity"}
    if remote.size is not None and have > remote.size:
        forget(part)
        raise RetryableError(f"{part.name} is longer than the published file; it is fetched anew")
    tag = _noted(part, remote.url).get("etag")
    if have and not tag and not remote.checksum[1]:
        forget(part)  # nothing could tell whether its start and another's end are one file
        have = 0
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag  # else a file that changed on the server would be joined to the old one's start
    try:
        response = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            forget(part)
            raise RetryableError("the server has no such range; the file is fetched anew") from error
        raise
    with response:
        start = _start_of(response, have)
        size = _expect(response, start, remote)
        if have and not start:
            log.info("%s: the server does not go on from byte %d; from the start again", remote.url, have)
        if remote.size is None and size:
            need_space(part.parent, size - start)
        tag = response.headers.get("ETag", "")
        notes = {"url": remote.url, "etag": "" if tag.startswith("W/") else tag, "size": size}
        write_json(_notes(part), notes)
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            left = math.inf if size is None else size - start
            pieces, mebibytes = _copy(response, file, left), None if size is None else left // MEBIBYTE
            name = f"{part.name.removesuffix('.part')} (MiB)"
            for _ in pieces if mebibytes == 0 else track(pieces, name, total=mebibytes):
                pass
    if size is not None and (have := _size(part)) < size:
        raise RetryableError(f"the connection ended at byte {have} of {size}")


def _start_of(response: http.client.HTTPResponse, have: int) -> int:
    """The first byte of the answer: 0, or `have`. Raises RetryableError for any other."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != have:
        raise RetryableError(f"the server sent another range than bytes {have}-")
    return have


def _expect(response: http.client.HTTPResponse, start: int, remote: Remote) -> int | None:
    """The whole file's size: the published one, else what the server says of it, if anything.

    Raises RetryableError where the server says that its file has another size than the published one.
    """
    length = response.headers.get("Content-Length")
    size = start + int(length) if length else None
    if remote.size is not None and size is not None and size != remote.size:
        raise RetryableError(f"the server's file has {size} bytes, the published one {remote.size}")
    return size if remote.size is None else remote.size


def _copy(response: http.client.HTTPResponse, file, left: float) -> Iterator[None]:
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
    """Whether the file has the size and the checksum that are known."""
    if remote.size is not None and _size(path) != remote.size:
        return False
    kind, wanted = remote.checksum
    return not wanted or _digest(path, kind) == wanted


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def forget(part: Path) -> None:
    """Remove a partial download and what is noted of it."""
    for path in (part, _notes(part)):
        path.unlink(missing_ok=True)


def unpack(archive: Path, root: Path, name: str, inner: str = "") -> None:
    """Unpack a folder or a file of a zip or .tar.gz to root/`name`, which must not be there.

    `inner` is how its path ends in the archive (`name` where not given); of several the one nearest to the top is
    meant, other entries are left out. All goes to root/.`name`.partial first: root/`name` is whole or absent. Raises
    NotObtained for an entry that points outside or is a link, for a damaged archive and one without `inner`, and
    DigrapError for too small a disk.
    """
    partial = root / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a start that was killed
    take = _unpack_tar if archive.name.endswith((".tar.gz", ".tgz")) else _unpack_zip
    make_folder(root)
    try:
        place = take(archive, partial, inner or name)
        os.sync()  # a name that survives a power cut stands for files that do
        (partial / place).rename(root / name)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile) as error:
        raise _damaged(archive, error) from error
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        raise DigrapError(f"{archive}: cannot be unpacked to {root} ({error}); make room, then start again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _damaged(archive: Path, error: Exception) -> NotObtained:
    return NotObtained(f"{archive}: cannot be unpacked ({error}); delete it and start again")


def _unpack_zip(archive: Path, partial: Path, inner: str) -> Path:
    """What lies at `inner` to partial/<the returned path>; nothing is written where an entry is refused."""
    with zipfile.ZipFile(archive) as file:
        every = file.infolist()
        for info in every:
            kind = stat.S_IFMT(info.external_attr >> 16)
            _refuse(archive, info.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
        place = _nearest(archive, inner, (info.filename for info in every if not info.is_dir()))
        members = [info for info in every if _is_under(info.filename, place)]
        need_space(partial.parent, sum(info.file_size for info in members) + 4096 * len(members))
        for info in track(members, f"unpacking {archive.name}"):
            file.extract(info, partial)
    return place


def _unpack_tar(archive: Path, partial: Path, inner: str) -> Path:
    """As `_unpack_zip`, but read once: large ones take long. Entries before one that is refused are in `partial`."""
    need_space(partial.parent, archive.stat().st_size)
    taken = []
    with gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as file:
            for entry in track(file, f"unpacking {archive.name}"):
                _refuse(archive, entry.name, entry.isreg() or entry.isdir())
                if entry.isreg() and _places(entry.name, inner):
                    target = partial.joinpath(*_parts(entry.name))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with open(target, "wb") as copy:
                        shutil.copyfileobj(file.extractfile(entry), copy, MEBIBYTE)
                    taken.append(entry.name)
        while stream.read(MEBIBYTE):  # gzip's checksum stands at the end, behind what tar reads
            pass
    return _nearest(archive, inner, taken)


def _refuse(archive: Path, name: str, plain: bool) -> None:
    """Raise NotObtained for an entry that could reach outside the folder it is unpacked into."""
    parts = _parts(name)
    outside = ".." in parts or name.startswith("/") or "\\" in name or ":" in parts[0]
    if outside or not plain:
        what = "points outside the folder" if outside else "is a link or a device"
        raise NotObtained(f"{archive}: the entry {name!r} {what}; nothing was unpacked, give another mirror=URL")


def _nearest(archive: Path, inner: str, names: Iterable[str]) -> Path:
    """Where `inner` lies in the archive with these files. Raises NotObtained where it does not, or twice as deep."""
    places = sorted(
        {place for name in names for place in _places(name, inner)}, key=lambda place: (len(place.parts), place)
    )
    if not places:
        raise NotObtained(f"{archive}: holds no file in {inner}/ and none of that name; give another mirror=URL")
    if len(places) > 1 and len(places[0].parts) == len(places[1].parts):
        raise NotObtained(f"{archive}: which of {places[0]} and {places[1]}? Unpack it by hand")
    return places[0]


def _places(name: str, inner: str) -> list[Path]:
    """Where on an entry's path `inner` lies: [] or the first place."""
    parts, wanted = _parts(name), PurePosixPath(inner).parts
    if parts[0] == "__MACOSX":  # of another file system
        return []
    ends = range(len(wanted), len(parts) + 1)
    return [Path(*parts[:end]) for end in ends if parts[end - len(wanted) : end] == wanted][:1]


def _is_under(name: str, place: Path) -> bool:
    return _parts(name)[: len(place.parts)] == place.parts


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts or ("",)


def server(mirror: str) -> str:
    """A mirror's address, ending in /. Raises DigrapError for one that is not http."""
    if not mirror.startswith(("http://", "https://")):
        raise DigrapError(f"mirror={mirror}: give an address that starts with http:// or https://")
    return mirror.rstrip("/") + "/"


def alone(root: Path) -> AcquireReturnProxy:
    """A lock against a second download into the same folder. Raises DigrapError where one is at work."""
    make_folder(root)
    try:
        return FileLock(root / ".download.lock", timeout=0).acquire()
    except Timeout:
        raise DigrapError(f"{root}: another download is at work there; wait for it") from None
    except OSError as error:
        raise _read_only(root, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises DigrapError where that is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _read_only(path, error) from error


def _read_only(path: Path, error: OSError) -> DigrapError:
    return DigrapError(f"{path}: cannot be written ({error}); verify_only=true only reads")


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


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _noted(part: Path, url: str) -> dict[str, Any]:
    """The ETag and the whole size with which the start of the file came from this address, or nothing."""
    try:
        noted = json.loads(_notes(part).read_text())
        return noted if noted["url"] == url else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
