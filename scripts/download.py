"""Download and check a dataset's files: --help, or digrap/cli/download.py."""

import _package  # noqa: F401

from digrap.cli import download
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(download.main, download.__doc__))
