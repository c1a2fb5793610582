"""Score the answers to a split of DomainNet-oVQA: --help, or digrap/cli/score_ovqa.py."""

import _package  # noqa: F401

from digrap.cli import score_ovqa
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(score_ovqa.main, score_ovqa.__doc__))
