"""Zip and .tar.gz archives unpacked safely: a folder is whole or absent, and no entry reaches outside it."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from digrap.core.errors import DigrapError
from digrap.core.progress import track
from digrap.data.download.disk import MEBIBYTE, make_folder, need_space, put_in_place
from digrap.data.download.errors import NotObtained

AGAIN = "delete it or move it away; the same command then downloads it, also from another mirror=URL"


def unpack(archive: Path, root: Path, name: str, inner: str = "", accept: Callable[[Path], None] | None = None) -> None:
    """Unpack a folder or a file of a zip or .tar.gz to root/`name`; what stood there is kept (`put_in_place`).

    `inner` is the end of its path in the archive (default: `name`); of several matches the one nearest to the top
    counts, other entries are left out. Files go to root/.`name`.partial first, so that root/`name` is whole or absent;
    `accept`, if given, may refuse them there, by NotObtained. Raises NotObtained for an entry that points outside or is
    a link, for a damaged archive and for one without `inner`, and DigrapError for too small a disk.
    """
    partial = root / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    take = _unpack_tar if archive.name.endswith((".tar.gz", ".tgz")) else _unpack_zip
    make_folder(root)
    try:
        place = take(archive, partial, inner or name)
        os.sync()  # else the new name could survive a power cut that its files do not
        if accept:
            accept(partial / place)
        put_in_place(partial / place, root / name)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile) as error:
        raise _damaged(archive, error) from error
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        raise DigrapError(
            f"{archive}: cannot be unpacked to {root} ({error}); make room there or give another data_root=…, then run "
            "the command again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _damaged(archive: Path, error: Exception) -> NotObtained:
    return NotObtained(f"{archive}: cannot be unpacked ({error}); {AGAIN}")


def _unpack_zip(archive: Path, partial: Path, inner: str) -> Path:
    """Unpack `inner` to partial/<the returned path>; nothing is written where an entry is refused."""
    with zipfile.ZipFile(archive) as file:
        every = file.infolist()
        for info in every:
            kind = stat.S_IFMT(info.external_attr >> 16)
            _refuse(archive, info.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
        place = _nearest(archive, inner, (info.filename for info in every if not info.is_dir()))
        members = [info for info in every if _is_under(info.filename, place)]
        need_space(partial.parent, sum(info.file_size for info in members) + 4096 * len(members))
        for info in track(members, f"unpacking {archive.name}", unit="files"):
            file.extract(info, partial)
    return place


def _unpack_tar(archive: Path, partial: Path, inner: str) -> Path:
    """Like `_unpack_zip`, in one pass as large archives take long: entries before a refused one are written."""
    need_space(partial.parent, archive.stat().st_size)
    taken = []
    with gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as file:
            for entry in track(file, f"unpacking {archive.name}", unit="files"):
                _refuse(archive, entry.name, entry.isreg() or entry.isdir())
                if entry.isreg() and _places(entry.name, inner):
                    target = partial.joinpath(*_parts(entry.name))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with open(target, "wb") as copy:
                        shutil.copyfileobj(file.extractfile(entry), copy, MEBIBYTE)
                    taken.append(entry.name)
        while stream.read(MEBIBYTE):  # gzip's checksum is at the end, after the last byte that tar reads
            pass
    return _nearest(archive, inner, taken)


def _refuse(archive: Path, name: str, plain: bool) -> None:
    """Raise NotObtained for an entry that could reach outside the folder it is unpacked into."""
    parts = _parts(name)
    outside = ".." in parts or name.startswith("/") or "\\" in name or ":" in parts[0]
    if outside or not plain:
        what = "points outside the folder" if outside else "is a link or a device"
        raise NotObtained(f"{archive}: the entry {name!r} {what}; nothing was unpacked; {AGAIN}")


def _nearest(archive: Path, inner: str, names: Iterable[str]) -> Path:
    """Return the path that ends in `inner` nearest to the top. Raises NotObtained for none, or two equally deep."""
    places = sorted(
        {place for name in names for place in _places(name, inner)}, key=lambda place: (len(place.parts), place)
    )
    if not places:
        raise NotObtained(f"{archive}: has neither files in {inner}/ nor a file of that name; {AGAIN}")
    if len(places) > 1 and len(places[0].parts) == len(places[1].parts):
        raise NotObtained(f"{archive}: both {places[0]} and {places[1]} end in {inner}; unpack the right one by hand")
    return places[0]


def _places(name: str, inner: str) -> list[Path]:
    """Return the shortest start of an entry's path that ends in `inner`, in a list; [] where there is none."""
    parts, wanted = _parts(name), PurePosixPath(inner).parts
    if parts[0] == "__MACOSX":  # resource forks of macOS
        return []
    ends = range(len(wanted), len(parts) + 1)
    return [Path(*parts[:end]) for end in ends if parts[end - len(wanted) : end] == wanted][:1]


def _is_under(name: str, place: Path) -> bool:
    return _parts(name)[: len(place.parts)] == place.parts


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts or ("",)
