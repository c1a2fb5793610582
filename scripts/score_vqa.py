"""Score VQA predictions as the public scorers do: --help, or digrap/cli/score_vqa.py."""

import _package  # noqa: F401

from digrap.cli import score_vqa
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(score_vqa.main, score_vqa.__doc__))
