"""Disk checks of a download: folders, free space, file sizes, and a lock for one download at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from digrap.core.errors import DigrapError

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
    return DigrapError(f"{path}: cannot be written ({error}); verify_only=true only reads")


def need_space(folder: Path, size: int) -> None:
    """Raise DigrapError where fewer than `size` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DigrapError(
            f"{folder}: {size / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free; "
            "make room or give another data_root=…"
        )


def file_size(path: Path) -> int:
    """Bytes of the file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0
