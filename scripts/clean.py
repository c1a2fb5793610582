"""List or delete run folders that no table needs: --help, or digrap/cli/clean.py."""

import _package  # noqa: F401

from digrap.cli import clean
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(clean.main, clean.__doc__))
