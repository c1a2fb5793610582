"""The disk of a download: folders, free space, sizes, new files in the place of old ones, one download at a time."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import shutil
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from digrap.core.errors import DigrapError

log = logging.getLogger(__name__)

MEBIBYTE = 2**20


def lock_downloads(root: Path) -> AcquireReturnProxy:
    """Lock a folder against a second download. Raises DigrapError where one is running."""
    make_folder(root)
    try:
        return FileLock(root / ".download.lock", timeout=0).acquire()
    except Timeout:
        raise DigrapError(f"{root}: another download is running there; wait for it to end") from None
    except OSError as error:
        raise _read_only(root, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises DigrapError where that is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _read_only(path, error) from error


def _read_only(path: Path, error: OSError) -> DigrapError:
    return DigrapError(f"{path}: cannot be written ({error}); give another data_root=…; verify_only=true only reads")


def not_written(path: Path, error: OSError) -> DigrapError:
    """Return the error for a file that the disk refuses."""
    limit = ": the disk cannot hold a file of this size (FAT32: at most 4 GiB)" if error.errno == errno.EFBIG else ""
    return DigrapError(f"{path}: cannot be written ({error}){limit}; make room there or give another data_root=…")


def put_in_place(new: Path, path: Path) -> None:
    """Rename `new` to `path`. What stands there, perhaps the user's, is kept as <path>.replaced, which the log says."""
    if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
        path.rmdir()
    elif os.path.lexists(path):
        names = (path.with_name(f"{path.name}.replaced{end}") for end in itertools.chain([""], itertools.count(2)))
        kept = next(name for name in names if not os.path.lexists(name))
        path.rename(kept)
        log.warning("%s: replaced; the old version is kept as %s", path, kept)
    os.replace(new, path)


def need_space(folder: Path, size: int) -> None:
    """Raise DigrapError where fewer than `size` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DigrapError(
            f"{folder}: {size / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free; make room or give another "
            "data_root=…"
        )


def file_size(path: Path) -> int:
    """Bytes of the file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0
