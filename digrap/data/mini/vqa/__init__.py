"""minivqa: the ten VQA sets in miniature, made once a seed in the official file formats and read by the real readers.

Without seeing, the ID test (default sizes, seed 0; the scorer official2021) gives 40.7 % to the most frequent training
answer of each question type and 46.7 % to that of each form of question; 60.0 % to the adversary (adversary.py), which
knows the colors in the picture besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.data import vqa
from digrap.data.mini.domainnet import check_range
from digrap.data.mini.vqa.folder import folder_of, made
from digrap.data.mini.vqa.twins import Sizes
from digrap.data.splits import DataModule

SMALLEST, LARGEST = 40, 20_000  # questions of a set


def build(
    root: str | Path, seed: int, splits: Mapping[str, Mapping[str, str]], sizes: Mapping[str, int] | None = None
) -> DataModule:
    """Build the splits of configs/dataset/minivqa.yaml from the files under root/seed<seed>, which are made where they
    are missing.

    `splits` is as for `digrap.data.vqa.build`, `sizes` has the fields of `Sizes`; the files of other sizes than the
    default ones lie in a folder of their own. Any fault of a file is an error. Raises DigrapError for options that do
    not fit, and where the files cannot be written.
    """
    return _read(made(Path(root).expanduser(), seed, _checked(seed, sizes)), splits)


def kept(
    root: str | Path,
    seed: int,
    splits: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, int] | None = None,
    *,
    command: str,
) -> DataModule:
    """The same splits, from files that are there, as they are. Raises DigrapError, naming the command that makes them,
    where there are none."""
    folder = folder_of(Path(root).expanduser(), seed, _checked(seed, sizes))
    if not folder.is_dir():
        raise DigrapError(f"{folder} does not exist; {command} makes it")
    return _read(folder, splits)


def _checked(seed: int, sizes: Mapping[str, int] | None) -> Sizes:
    check_range("dataset.seed", seed, 0, 2**32 - 1)
    known = {field.name: field.default for field in fields(Sizes)}
    for name, size in (sizes or {}).items():
        if name not in known:
            raise DigrapError(f"dataset.sizes.{name}: there is no such set; choose from {', '.join(known)}")
        check_range(f"dataset.sizes.{name}", size, SMALLEST, LARGEST)
    return Sizes(**known | dict(sizes or {}))


def _read(folder: Path, splits: Mapping[str, Mapping[str, str]]) -> DataModule:
    data = vqa.build(folder, splits, train_share=1.0, val_share=0.5, strict=True)
    named = {name: replace(split, dataset="minivqa") for name, split in data.splits.items()}
    return replace(data, splits=named, protocol="clean")
