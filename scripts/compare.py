"""Compare two runs on the same examples: --help, or digrap/cli/compare.py."""

import _package  # noqa: F401

from digrap.cli import compare
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(compare.main, compare.__doc__))
