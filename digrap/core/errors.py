"""The error whose text is written for the user, what such texts are made of, and the interruption."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class DigrapError(Exception):
    """Bad input or a broken file. The text says what is wrong, where, and the command or change that fixes it.

    The doors (train.py, evaluate.py, scripts) print the text alone and exit with code 2. A worker of torch's DataLoader
    raises the error again with a whole traceback as its text; the original text is cut out of that.
    """

    def __init__(self, text: str):
        if text.startswith(f"Caught {type(self).__name__} in DataLoader worker"):
            text = text.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(text)


class Unreadable(DigrapError):
    """A file that cannot be read. `fault` is the text without its advice: who knows where the file comes from gives a
    better one."""

    def __init__(self, fault: str, advice: str = ""):
        super().__init__(f"{fault}; {advice}" if advice else fault)
        self.fault = fault


class Busy(DigrapError):
    """The run folder is locked: another process is writing it."""


class Interrupted(KeyboardInterrupt):
    """A signal asks this process to end; `kept` says what is saved of the work in hand. `code` is the exit code."""

    def __init__(self, signal: signal.Signals, kept: str = ""):
        super().__init__(signal, kept)
        self.signal, self.kept, self.code = signal, kept, 128 + signal

    def __str__(self) -> str:
        kept = f": {self.kept}" if self.kept else ""
        return f"interrupted by {self.signal.name}{kept}"


def nearest(name: str, choices: Iterable[str]) -> str:
    """`nearest: a, b` for the choices most like `name`, or all of them if none is like it."""
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else f"valid: {', '.join(choices)}"


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
