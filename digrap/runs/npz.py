"""npz files that hold arrays and lists of strings. Their bytes depend on their content alone; nothing is pickled."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically

Values = np.ndarray | list[str]
DAMAGE = (  # of a file cut off or changed
    OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error,
    struct.error, OverflowError, MemoryError,
)  # fmt: skip


def write_npz(path: Path, content: Mapping[str, Values], owner: str = "") -> None:
    """Write arrays as `<name>.npy` and lists of strings as `<name>.json`; see `write_atomically` for `owner`."""
    data = npz_bytes(content)
    write_atomically(path, lambda file: file.write(data), owner)


def npz_bytes(content: Mapping[str, Values]) -> bytes:
    """The file that `write_npz` writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in content.items():
            ending, data = (".json", as_json(values)) if isinstance(values, list) else (".npy", _as_npy(values))
            # A ZipInfo of its own has no time of day.
            archive.writestr(zipfile.ZipInfo(name + ending), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def read_npz(
    path: Path, what: str, names: Sequence[str] | None = None, remedy: str = "make the run again"
) -> dict[str, Values]:
    """The file's content, or the named arrays of it. Raises DigrapError, which calls it `what` and ends in the
    `remedy`, where it is missing or damaged."""
    try:
        if not zipfile.is_zipfile(path):  # numpy would ask whether to trust it
            raise ValueError("it is not a complete npz file")
        with np.load(path, allow_pickle=False) as archive:
            _check_count(path, len(archive.files))
            return {
                name.removesuffix(".json"): _strings(archive[name]) if name.endswith(".json") else _array(archive[name])
                for name in (archive.files if names is None else names)
            }
    except DAMAGE as error:
        raise DigrapError(f"{path}: {what} cannot be read ({error}); {remedy}") from error


def as_json(strings: list[str]) -> bytes:
    """One JSON list in ASCII. Raises DigrapError for strings that would come back as others."""
    data = json.dumps(strings, separators=(",", ":")).encode()
    if json.loads(data) != strings:
        raise DigrapError("a text has one character as two surrogates, which no file can hold: join them")
    return data


def _strings(data: bytes) -> list[str]:
    strings = json.loads(data)
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        raise ValueError("a member holds no list of strings")
    return strings


def _check_count(path: Path, found: int) -> None:
    """Raise ValueError where a zip file has not the number of members that its last 22 bytes name: zipfile takes a
    damaged length in the list of members for the list's end. Each member has a checksum, their list has none."""
    with open(path, "rb") as file:
        file.seek(-22, io.SEEK_END)
        end = file.read()
    if end[:4] != b"PK\x05\x06" or int.from_bytes(end[10:12], "little") != found:
        raise ValueError("its list of members is damaged")


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):  # numpy gives the bytes of a member that is none
        raise ValueError("a member holds no array")
    return value


def _as_npy(array: np.ndarray) -> bytes:
    inner = io.BytesIO()
    np.lib.format.write_array(inner, array, allow_pickle=False)
    return inner.getvalue()
