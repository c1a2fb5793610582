"""Render a table and its figures from run folders: --help, or digrap/cli/make_tables.py."""

import _package  # noqa: F401

from digrap.cli import make_tables
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(make_tables.main, make_tables.__doc__))
