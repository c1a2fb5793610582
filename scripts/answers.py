"""Write a run's answers for the official evaluators or in lmms-eval's format: --help, or digrap/cli/answers.py."""

import _package  # noqa: F401

from digrap.cli import answers
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(answers.main, answers.__doc__))
