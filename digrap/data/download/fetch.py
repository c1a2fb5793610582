"""Large files over HTTP: resumed and checked. A partial file never has its final name."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import math
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.progress import track
from digrap.data.download.disk import MEBIBYTE, file_size, make_folder, need_space, not_written, put_in_place
from digrap.data.download.errors import NotObtained, RetryableError, Unreachable

log = logging.getLogger(__name__)

TRIES = 5  # in a row that bring no new byte
WHOLE = 2  # complete downloads with a wrong checksum before the server is given up
PAUSE = 2.0  # seconds before the second try; doubled for each further one
TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Remote:
    """A published file: its address and, where known, its size in bytes, md5 and sha256."""

    url: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def checksum(self) -> tuple[str, str]:
        """("md5", …) or ("sha256", …); the second is "" where none is known."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5 or "")


def fetch(remote: Remote, path: Path, accept: Callable[[Path], None] | None = None, fault: str = "") -> bool:
    """Download `path` unless it exists with the known size and checksum; return whether it was downloaded.

    Bytes go to <path>.part, which a later call resumes. Only a file with the right checksum that `accept`, if given,
    does not refuse (by NotObtained) gets the name `path`. Another file that stands there is left as it is until then,
    and afterwards kept under another name (`put_in_place`); `fault` is what is wrong with it where size and checksum do
    not show that. Raises NotObtained where no file can be had and where the server refuses, Unreachable where it does
    not answer, DigrapError where the disk is too small or cannot be written.
    """
    if os.path.lexists(path):
        if not (fault := fault or difference(path, remote)):
            return False
        log.warning("%s; it is downloaded again, and kept until the new download is complete", fault)
    part = path.with_name(path.name + ".part")
    try:
        make_folder(path.parent)
        need_space(path.parent, (remote.size or 0) - file_size(part))
        _complete(remote, part)
        if accept:
            _accept(part, accept)
        put_in_place(part, path)
        forget(part)
    except OSError as error:
        raise not_written(part, error) from error
    except DigrapError as error:
        if not fault:
            raise
        raise type(error)(f"{fault}; it was kept, because downloading it again failed: {error}") from error
    return True


def _accept(part: Path, accept: Callable[[Path], None]) -> None:
    try:
        accept(part)
    except NotObtained:
        forget(part)
        raise


def _complete(remote: Remote, part: Path) -> None:
    """Download what is missing of `part`, try after try. Raises NotObtained or Unreachable; OSError is the disk's."""
    damaged = failed = 0
    while True:
        before = file_size(part)
        try:
            if not before or before != (remote.size or _noted(part, remote.url).get("size")):
                _receive(remote, part)
            if is_whole(part, remote):
                return
        except RetryableError as error:
            _stop_or_wait(error, remote, part, failed := 1 if file_size(part) > before else failed + 1)
            continue
        kind, wanted = remote.checksum
        found = digest(part, kind)
        forget(part)
        damaged += 1
        if damaged == WHOLE:
            raise NotObtained(
                f"{remote.url}: {damaged} downloads have another {kind} than {wanted} (the last {found}): either the "
                "server has another file than the published one, or the connection damages it; give another mirror=URL"
            )
        log.warning(
            "%s: the download is damaged (its %s differs); downloading it again", part.name.removesuffix(".part"), kind
        )


def _stop_or_wait(error: RetryableError, remote: Remote, part: Path, failed: int) -> None:
    """Sleep before the next try. Raises NotObtained or Unreachable where another try would not help."""
    cause = error.__cause__
    if isinstance(cause, urllib.error.HTTPError) and cause.code < 500 and cause.code not in (408, 429):
        raise NotObtained(f"{remote.url}: the server replied {cause.code} {cause.reason}; give a mirror=URL") from error
    no_such_host = isinstance(getattr(cause, "reason", None), socket.gaierror)  # rarely temporary
    if failed == (2 if no_such_host else TRIES):
        raise Unreachable(
            f"{remote.url}: {failed} tries failed, the last with: {error}; run the same command later, which resumes "
            f"at byte {file_size(part)}, or give a mirror=URL"
        ) from error
    log.warning("%s: %s; try %d of %d", remote.url, error, failed + 1, 2 if no_such_host else TRIES)
    time.sleep(PAUSE * 2 ** (failed - 1))


@contextlib.contextmanager
def _connection() -> Iterator[None]:
    """Turn the errors of a connection into RetryableError, which tells them from those of the disk."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise RetryableError(str(error)) from error


def _receive(remote: Remote, part: Path) -> None:
    """Send one request and append the answer to `part`. Raises RetryableError where the connection ends too early."""
    have, headers = file_size(part), {"User-Agent": "digrap", "Accept-Encoding": "identity"}
    if remote.size is not None and have > remote.size:
        forget(part)
        raise RetryableError(f"{part.name} is longer than the published file; downloading it again")
    tag = _noted(part, remote.url).get("etag")
    if have and not tag and not remote.checksum[1]:
        forget(part)  # nothing would show that its start and the rest are of one file
        have = 0
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag  # else a file that changed on the server would be appended to the old start
    try:
        with _connection():
            response = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT)
    except RetryableError as error:
        if getattr(error.__cause__, "code", None) != 416:
            raise
        forget(part)
        raise RetryableError("the server has no such range; downloading the file again") from error
    with response:
        start = _start_of(response, have)
        size = _expect(response, start, remote)
        if have and not start:
            log.info("%s: the server cannot resume at byte %d; starting again", remote.url, have)
        if remote.size is None and size:
            need_space(part.parent, size - start)
        tag = response.headers.get("ETag", "")
        notes = {"url": remote.url, "etag": "" if tag.startswith("W/") else tag, "size": size}
        write_json(_notes(part), notes)
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            left = math.inf if size is None else size - start
            pieces, mebibytes = _copy(response, file, left), None if size is None else left // MEBIBYTE
            name = part.name.removesuffix(".part")
            for _ in pieces if mebibytes == 0 else track(pieces, name, total=mebibytes, unit="MiB"):
                pass
    if size is not None and (have := file_size(part)) < size:
        raise RetryableError(f"the connection ended at byte {have} of {size}")


def _start_of(response: http.client.HTTPResponse, have: int) -> int:
    """Return the first byte of the answer: 0 or `have`. Raises RetryableError for any other."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != have:
        raise RetryableError(f"the server did not send the range of bytes {have}-")
    return have


def _expect(response: http.client.HTTPResponse, start: int, remote: Remote) -> int | None:
    """Return the whole file's size: the published one, else the server's; None where neither is known.

    Raises RetryableError where the server's file has another size than the published one.
    """
    length = response.headers.get("Content-Length")
    size = start + int(length) if length else None
    if remote.size is not None and size is not None and size != remote.size:
        raise RetryableError(f"the server's file has {size} bytes, the published one {remote.size}")
    return size if remote.size is None else remote.size


def _copy(response: http.client.HTTPResponse, file, left: float) -> Iterator[None]:
    """Write at most `left` bytes of the answer; yield once per mebibyte. read1 keeps every byte before a cut."""
    done = 0
    while left:
        with _connection():
            data = response.read1(min(left, MEBIBYTE))
        if not data:
            return
        file.write(data)
        left -= len(data)
        done += len(data)
        for _ in range(done // MEBIBYTE):
            yield
        done %= MEBIBYTE


def is_whole(path: Path, remote: Remote) -> bool:
    """Whether there is a file with the known size and checksum."""
    if not path.is_file() or (remote.size is not None and file_size(path) != remote.size):
        return False
    kind, wanted = remote.checksum
    return not wanted or digest(path, kind) == wanted


def difference(path: Path, remote: Remote) -> str:
    """Return how what stands at `path` differs from the published file, with both checksums; "" for the file itself."""
    if is_whole(path, remote):
        return ""
    if not path.is_file():
        return f"{path}: is no file"
    kind, wanted = remote.checksum
    published = [f"{remote.size} bytes"] if remote.size is not None else []
    published += [f"{kind} {wanted}"] if wanted else []
    return f"{path}: {file_size(path)} bytes, {kind} {digest(path, kind)}, are not the published {', '.join(published)}"


def digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def forget(part: Path) -> None:
    """Remove a partial download and its notes."""
    for path in (part, _notes(part)):
        path.unlink(missing_ok=True)


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _noted(part: Path, url: str) -> dict[str, Any]:
    """Return the ETag and whole size noted for a partial file of this address; {} where there are none."""
    try:
        noted = json.loads(_notes(part).read_text())
        return noted if noted["url"] == url else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def base_url(mirror: str) -> str:
    """Return a mirror's address with / at its end. Raises DigrapError for one that is not an address of http."""
    if not mirror.startswith(("http://", "https://")):
        raise DigrapError(f"mirror={mirror}: give an address that starts with http:// or https://")
    try:
        _ = urlsplit(mirror).port  # raises ValueError for one that is no number up to 65535
    except ValueError as error:
        raise DigrapError(f"mirror={mirror}: not a valid address ({error}); give http://<host>[:<port>]/…") from error
    return mirror.rstrip("/") + "/"
