"""The miniature DomainNet as named splits, drawn when loaded and cached."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically
from digrap.core.progress import track
from digrap.data.mini.draw import DOMAINS, VERSION, draw
from digrap.data.mini.glyphs import GLYPHS_SHA256, load_glyphs
from digrap.data.mini.symbols import CLASSES
from digrap.data.splits import KINDS, DataModule, ImageTensors, Split

log = logging.getLogger(__name__)

STREAM = 0  # tools/pretrain_mini.py draws from stream 1
SIZES = (32, 48)  # pixels a side


def build(root: str | Path, seed: int, image_size: int, splits: Mapping[str, Mapping[str, Any]]) -> DataModule:
    """Build the splits of configs/dataset/minidomainnet.yaml; nothing is drawn before a split's `load()`.

    `splits` maps a name to {domain, kind, size}. Every seed ≥ 0 gives fresh pictures, and no picture is in two splits.
    Raises DigrapError for an unknown domain or kind, or a number out of range.
    """
    check_range("dataset.seed", seed, 0, 2**32 - 1)
    check_range("dataset.image_size", image_size, *SIZES)
    result = {}
    for name, options in splits.items():
        domain, kind, size = _check_split(name, options)
        load = partial(_load, Path(root), seed, image_size, name, domain, size)
        result[name] = Split(name, kind, "minidomainnet", load)
    return DataModule(result, CLASSES)


def kept(
    root: str | Path, seed: int, image_size: int, splits: Mapping[str, Mapping[str, Any]], *, command: str
) -> DataModule:
    """The same splits, from what is drawn already: loading any other one raises DigrapError, naming the command that
    draws it."""
    data = build(root, seed, image_size, splits)
    files = {
        name: cache_file(Path(root), seed, image_size, name, options["domain"], options["size"])
        for name, options in splits.items()
    }
    return replace(data, splits={name: _only(split, files[name], command) for name, split in data.splits.items()})


def _only(split: Split, file: Path, command: str) -> Split:
    def load() -> Dataset:
        if not file.exists():
            raise DigrapError(f"{file} does not exist; {command} draws it")
        return split.load()

    return replace(split, load=load)


def balanced_labels(seed: int, split: int, size: int) -> Tensor:
    """int64 (size,): every block of 45 holds each class once, in random order; label i does not depend on `size`."""
    blocks = [
        np.random.default_rng([STREAM, seed, split, block]).permutation(len(CLASSES))
        for block in range(-(-size // len(CLASSES)))
    ]
    return torch.from_numpy(np.concatenate(blocks)[:size].astype(np.int64))


def check_range(name: str, value: Any, low: int, high: int) -> None:
    """Raise DigrapError, which names the option, for a value that is not a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DigrapError(f"{name}={value}: give a whole number from {low} to {high}")


def _check_split(name: str, options: Mapping[str, Any]) -> tuple[str, str, int]:
    missing = {"domain", "kind", "size"} - set(options)
    if missing:
        raise DigrapError(f"dataset.splits.{name}: {', '.join(sorted(missing))} missing; give domain, kind and size")
    for key in options:
        if key not in ("domain", "kind", "size"):
            raise DigrapError(f"dataset.splits.{name}.{key}: there is no such option; give domain, kind and size")
    domain, kind, size = options["domain"], options["kind"], options["size"]
    for key, value, known in (("domain", domain, tuple(DOMAINS)), ("kind", kind, KINDS)):
        if value not in known:
            raise DigrapError(f"dataset.splits.{name}.{key}={value}: choose one of {', '.join(known)}")
    check_range(f"dataset.splits.{name}.size", size, 1, 10**6)
    return domain, kind, size


def cache_file(root: Path, seed: int, image_size: int, name: str, domain: str, size: int) -> Path:
    """The file that keeps a drawn split."""
    # The path holds the drawing code's version and the glyph file's hash: a change of either starts another cache.
    folder = root / f"v{VERSION}-{GLYPHS_SHA256[:8]}-{image_size}px" / f"seed{seed}"
    return folder / f"{name}-{domain}-{size}.safetensors"


def _load(root: Path, seed: int, image_size: int, name: str, domain: str, size: int) -> ImageTensors:
    """The split from the cache, else freshly drawn and cached."""
    path = cache_file(root, seed, image_size, name, domain, size)
    if path.exists():
        return ImageTensors(*_read(path, (size, 3, image_size, image_size)))
    split = crc32(name.encode())
    labels = balanced_labels(seed, split, size)
    chunks = draw(load_glyphs(), labels, domain, (STREAM, seed, split), image_size)
    shown = track(chunks, f"drawing {name} (seed {seed})", total=size, size=len, unit="pictures")
    images = torch.cat(list(shown))
    _write(path, images, labels)
    return ImageTensors(images, labels)


def _digest(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(images.numpy())
    digest.update(labels.numpy())
    return digest.hexdigest()


def _write(path: Path, images: Tensor, labels: Tensor) -> None:
    """Cache a split, or log a warning where the cache cannot be written: the pictures are in memory anyway."""
    data = safetensors.torch.save({"images": images, "labels": labels}, metadata={"sha256": _digest(images, labels)})
    try:
        write_atomically(path, lambda file: file.write(data))
    except OSError as error:
        log.warning("%s cannot be written (%s): the pictures are kept in memory and drawn again next time", path, error)


def _read(path: Path, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A cached split's images and labels. Raises DigrapError when the file is truncated or its checksum differs."""
    fix = "delete the file; the same command draws it again"
    try:
        with safetensors.safe_open(path, "pt") as file:
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
            expected = (file.metadata() or {}).get("sha256")
    except (safetensors.SafetensorError, OSError) as error:
        raise DigrapError(f"{path}: the cached pictures cannot be read ({error}); {fix}") from error
    if tuple(images.shape) != shape or _digest(images, labels) != expected:
        raise DigrapError(f"{path}: the cached pictures are damaged (checksum differs); {fix}")
    return images, labels
