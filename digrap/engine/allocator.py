"""A setting of the C library's allocator: freed memory is kept for the next step."""

from __future__ import annotations

import ctypes
import sys

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Have glibc keep up to 1 GiB of freed memory. Every CPU step frees and takes the same large tensors; memory given
    back to the kernel comes again page by page, a fifth of a small model's step. Other C libraries are left alone."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, KEPT)
