"""Judge an optimizer of your own on the miniature: --help, or digrap/cli/judge.py."""

import _package  # noqa: F401

from digrap.cli import judge
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(judge.main, judge.__doc__))
