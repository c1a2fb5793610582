"""List runs with their scores: --help, or digrap/cli/runs.py."""

import _package  # noqa: F401

from digrap.cli import runs
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(runs.main, runs.__doc__))
