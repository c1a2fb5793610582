"""Files that are compressed, whatever their name says: gzip is unpacked, other archives are named."""

from __future__ import annotations

import gzip
import shlex
import zlib
from pathlib import Path

from digrap.core.errors import DigrapError

GZIP = b"\x1f\x8b"
ARCHIVES = {
    b"PK\x03\x04": ("a zip archive", "unzip"),
    b"BZh": ("compressed by bzip2", "bunzip2 --keep"),
    b"\xfd7zXZ\x00": ("compressed by xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("compressed by Zstandard", "unzstd"),
}


def unpacked(data: bytes, path: Path | str) -> bytes:
    """Return the bytes of the file `path`, those of a gzip file unpacked.

    Raises DigrapError for a gzip file that is damaged, and for a file of another archive's format.
    """
    if data.startswith(GZIP):
        try:
            return gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise DigrapError(f"{path} is a damaged gzip file ({error}): write or download it again") from error
    for start, (what, command) in ARCHIVES.items():
        if data.startswith(start):
            raise DigrapError(f"{path} is {what}: unpack it (`{command} {shlex.quote(str(path))}`), give what is in it")
    return data
