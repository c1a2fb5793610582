"""The one error a user is meant to read, and what helps to word it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DigrapError(Exception):
    """Bad input or a broken file, said as: what is wrong, where, and the command or change that mends it.

    The doors (train.py, evaluate.py, scripts) print its text alone and end with exit code 2. A loading process of
    torch's hands an error on as its type called with a whole traceback: the message is that text's end.
    """

    def __init__(self, text: str):
        if text.startswith(f"Caught {type(self).__name__} in DataLoader worker"):
            text = text.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(text)


class Busy(DigrapError):
    """Another process is writing the run folder."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """`nearest: a, b` for the choices most like `name`, or all of them where none is."""
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else f"valid: {', '.join(choices)}"
