"""Count test examples that occur in the training set: --help, or digrap/cli/check_leakage.py."""

import _package  # noqa: F401

from digrap.cli import check_leakage
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(check_leakage.main, check_leakage.__doc__))
