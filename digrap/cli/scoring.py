"""Steps that score_vqa and score_ovqa share: options, predictions, a split's name, and the result's output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from digrap.cli.arguments import check_flags, with_overrides
from digrap.cli.door import print_warnings
from digrap.core.errors import DigrapError, nearest
from digrap.core.files import write_json
from digrap.core.json_files import fingerprint
from digrap.core.paths import DATA
from digrap.core.problems import Problems
from digrap.metrics.vqa.predictions import Prediction, read_predictions

DEFAULTS = {"predictions": None, "format": None, "split": None, "data_root": str(DATA), "strict": False, "out": None}


def read_options(defaults: dict[str, Any], *flags: str) -> tuple[DictConfig, list[str]]:
    """Return the command line's options over their defaults, and its `dataset.<key>=…`.

    Raises DigrapError for an unknown key, missing predictions, and flags that are neither true nor false.
    """
    options, overrides = with_overrides(sys.argv[1:], defaults)
    check_flags(options, "strict", *flags)
    if options.predictions is None:
        raise DigrapError("predictions=FILE is missing: give the file with the answers; --help explains it")
    return options, overrides


def data_root(options: DictConfig) -> Path:
    """The folder that holds the datasets."""
    return Path(str(options.data_root)).expanduser()


def predictions_of(options: DictConfig, problems: Problems, name: str = "predictions") -> list[Prediction]:
    """Read the file of predictions that is given under this key."""
    return read_predictions(str(options[name]), problems, options.format)


def check_split(name: object, splits: Iterable[str]) -> None:
    """Raise DigrapError for a split that is not given or unknown."""
    if name is None:
        raise DigrapError(f"split=NAME is missing: give one of {', '.join(splits)}")
    if name not in splits:
        raise DigrapError(f"split={name}: there is no such split; {nearest(str(name), splits)}")


def fingerprints(options: DictConfig, *names: str) -> dict[str, dict[str, str]]:
    """Name and sha256 of the files that are given under these keys."""
    return {name: fingerprint(str(options[name])) for name in names if options[name] is not None}


def publish(result: dict[str, Any], problems: Problems, out: object) -> None:
    """Write the result to the file `out`, if given, print the problems to stderr and the result to stdout."""
    if out is not None:
        write_json(Path(str(out)), result)
    print_warnings(problems)
    print(json.dumps(result, indent=2, allow_nan=False))
