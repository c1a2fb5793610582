"""Arrays that take long to compute, kept in files."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from digrap.core.files import write_atomically

log = logging.getLogger(__name__)


def kept_array(cache: Path | None, name: str, of: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return what `make` returns, kept as `cache`/<name>-<digest of `of`>.npy; nothing is kept without `cache`.

    `of` is what decides the array, ready for JSON. A damaged file is made again; a folder that cannot be written to is
    reported, and nothing is kept.
    """
    if cache is None:
        return make()
    file = Path(cache) / f"{name}-{hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]}.npy"
    try:
        if file.is_file():
            return np.load(file)
    except (OSError, ValueError, EOFError):
        log.warning("%s is damaged: it is computed again", file)
    found = make()
    try:
        write_atomically(file, lambda handle: np.save(handle, found))
    except OSError as error:
        log.warning("%s cannot be written (%s): the next run computes it again", file, error)
    return found
