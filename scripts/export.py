"""Export a finished run, ready to publish: --help, or digrap/cli/export.py."""

import _package  # noqa: F401

from digrap.cli import export
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(export.main, export.__doc__))
