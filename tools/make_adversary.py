"""Train the adversary that AdVQA's twin has to fool, on questions of a seed that no dataset has.

    python tools/make_adversary.py [out=data/mini/minivqa_adversary.npz]

It prints the sha256, which digrap/data/mini/vqa/adversary.py names, and its accuracy on fresh questions with the prior
of training: 56.5 %, where the best constant answer per question type has 37.1 %. Two runs write the same file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.data.mini.vqa.adversary import FILE, make


def main() -> None:
    """Train it, write the file, and print what it is."""
    print(make(Path(bare_keys(sys.argv[1:], {"out": str(FILE)}).out)))


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
