"""One HTML page of every table, figure and run: --help, or digrap/cli/report.py."""

import _package  # noqa: F401

from digrap.cli import report
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(report.main, report.__doc__))
