"""Upload runs that were logged offline for Weights & Biases: --help, or digrap/cli/sync.py."""

import _package  # noqa: F401

from digrap.cli import sync
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(sync.main, sync.__doc__))
