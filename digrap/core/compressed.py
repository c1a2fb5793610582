"""Files that are compressed, whatever their name says: gzip, bzip2 and xz are unpacked, archives are named."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shlex
import zlib
from pathlib import Path

from digrap.core.errors import DigrapError, Unreadable

PACKED = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress}
ARCHIVES = {  # first bytes and their place: the command that unpacks, what it is
    (0, b"PK\x03\x04"): ("python -m zipfile -e {} .", "a zip archive"),
    (0, b"\x28\xb5\x2f\xfd"): ("unzstd {} -o whole.json", "compressed by zstd"),
    (257, b"ustar"): ("tar -xf {}", "a tar archive"),
}


def unpacked(data: bytes, path: Path | str) -> bytes:
    """Return the bytes of the file `path`, unpacked if it is compressed by gzip, bzip2 or xz.

    Raises DigrapError for such a file that is damaged, and for an archive.
    """
    for start, unpack in PACKED.items():
        if data.startswith(start):
            try:
                data = unpack(data)
            except (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error) as error:
                name = unpack.__module__.removeprefix("_")
                raise Unreadable(f"{path} is a damaged {name} file ({error})", "write or download it again") from error
            break
    for (place, start), (command, what) in ARCHIVES.items():
        if data.startswith(start, place):
            command = command.format(shlex.quote(str(path)))
            raise DigrapError(f"{path} is {what}, not JSON: unpack it with `{command}` and give the file inside")
    return data
