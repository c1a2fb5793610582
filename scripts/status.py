"""Show the state of a table's runs: --help, or digrap/cli/status.py."""

import _package  # noqa: F401

from digrap.cli import status
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(status.main, status.__doc__))
