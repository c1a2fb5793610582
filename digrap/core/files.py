"""Writing of files in one step (beside the target, flushed to disk, then renamed), their digests, and safe joining."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from digrap.core.errors import DigrapError


def write_atomically(path: Path, write: Callable[[BinaryIO], Any], owner: str = "") -> None:
    """Call `write(file)` on a temporary file in `path`'s folder, then rename it to `path`.

    In a folder that several runs write, the temporary file has the name of its `owner`, who finds it after a kill.
    Raises OSError that names `path` (on a full disk, for example) after removing the temporary file; a file at `path`
    is then unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.{owner}{'.' if owner else ''}"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        raise with_name(error, path) from None
    sync_folder(path.parent)


def with_name(error: BaseException, path: Path) -> BaseException:
    """The error; where it is the disk's (full, say), which names no file, it names `path`."""
    if isinstance(error, OSError) and error.filename is None:
        error.filename = str(path)
    return error


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk: a renaming in it then outlives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no such thing for folders
            os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. Raises ValueError for NaN and infinities."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 digest of the file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, digest: str, remedy: str) -> None:
    """Raise DigrapError, with the `remedy` at its end, for a file that is missing or has another SHA-256 digest."""
    try:
        found = sha256(path)
    except FileNotFoundError:
        raise DigrapError(f"{path} is missing; {remedy}") from None
    except OSError as error:
        raise DigrapError(f"{path} cannot be read ({error.strerror or error}); {remedy}") from error
    if found != digest:
        raise DigrapError(f"{path} is damaged (sha256 {found[:12]}…, as written {digest[:12]}…); {remedy}")


def inside(folder: Path, name: str, what: str) -> Path:
    """The path of `name` within `folder`, for a name that was read from a file; `what` says from which entry.

    Raises DigrapError for what leads out of the folder (absolute, by `..`, or over a symbolic link) or is its root.
    """
    try:
        path = Path(folder) / name
        within = path.resolve().relative_to(Path(folder).resolve()) != Path()
    except (TypeError, ValueError, OSError, RuntimeError):  # no text, a null character, outside, a loop of links
        within = False
    if not within:
        raise DigrapError(
            f"{what}: {name!r} is not the path of a file in {folder}; correct it, or make that file again"
        )
    return path
