"""Count a dataset's parts and draw a few of its pictures: --help, or digrap/cli/show_dataset.py."""

import _package  # noqa: F401

from digrap.cli import show_dataset
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(show_dataset.main, show_dataset.__doc__))
