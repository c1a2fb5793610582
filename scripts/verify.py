"""Rebuild every published table and compare: --help, or digrap/cli/verify.py."""

import _package  # noqa: F401

from digrap.cli import verify
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(verify.main, verify.__doc__))
