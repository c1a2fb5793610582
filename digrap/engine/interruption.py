"""Signals that ask a run to end (Ctrl-C, SIGTERM, SIGUSR2): training finishes its step and saves, testing finishes its
batch and keeps the answers, everything else is left at once. Imports no torch: it is ready before torch is."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from digrap.core.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # USR2: Slurm before a time limit or a preemption
WORKERS_OUTLIVE = 20  # seconds
REPEATED = 1.0  # seconds; torchrun hands a Ctrl-C on to ranks that the terminal has told already


class _Signals:
    """What this process was asked to do, the handlers that receive it, and how it is to react."""

    def __init__(self):
        self.asked: signal.Signals | None = None
        self.interrupted_at: float | None = None  # the first Ctrl-C, by time.monotonic()
        self.previous: dict[signal.Signals, Any] = {}
        self.owner = 0  # the process: a forked one inherits handlers that do not concern it
        self.kept = False  # by `keep_listening`
        self.levels = 0
        self.deferred = 0
        self.tell: Callable[[], None] | None = None

    def install(self) -> None:
        self.owner = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return  # Python allows handlers only there
        for number in SIGNALS:
            before = signal.getsignal(number)
            # Who starts a process with Ctrl-C ignored means it; USR2 is ignored so that it does not end the start.
            if before is not signal.SIG_IGN or number == signal.SIGUSR2:
                self.previous[number] = before
                signal.signal(number, self.handle)

    def restore(self) -> None:
        for number, before in self.previous.items():
            signal.signal(number, before)
        self.__init__()

    def handle(self, number: int, _: Any) -> None:
        if os.getpid() != self.owner:
            return
        if number == signal.SIGINT:
            now, first = time.monotonic(), self.interrupted_at
            if first is not None and now - first >= (REPEATED if "RANK" in os.environ else 0):
                _leave_at_once()
            self.interrupted_at = now if first is None else first
        if self.asked is not None:
            return
        self.asked = signal.Signals(number)
        if self.tell is not None:
            self.tell()
        if self.levels and not self.deferred:
            raise Interrupted(self.asked)
        if multiprocessing.parent_process() is None and os.environ.get("RANK", "0") == "0":
            _say(f"{self.asked.name}: stopping after this step or batch; Ctrl-C{self._again()} quits at once\n")

    def _again(self) -> str:
        return " again" if self.asked == signal.SIGINT else ""


_signals = _Signals()


@contextlib.contextmanager
def listening() -> Iterator[bool]:
    """Handle the signals from here on: one raises Interrupted, at once or, within `deferring`, at the next `check`.

    Yields whether this is the outermost such context, which puts the earlier handlers back at its end. Raises
    Interrupted where this process was asked to end before, in an earlier run of a sweep.
    """
    outermost = not _signals.levels and not _signals.kept
    _signals.levels += 1
    try:
        if outermost:
            _signals.install()
        check()
        yield outermost
    finally:
        _signals.levels -= 1
        if outermost:
            _signals.restore()


def keep_listening() -> None:
    """Handle the signals until this process ends: what the processes of a parallel sweep begin with. Between two runs
    nothing is raised; the next run is not begun."""
    _signals.kept = True
    _signals.install()


def outlive(_: int) -> None:
    """Let a worker of a DataLoader work on when all processes of the run were signalled: the step in hand needs it.

    Its parent ends it by closing its queue; where that fails by SIGTERM, which therefore ends it after all, later.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKERS_OUTLIVE))


@contextlib.contextmanager
def deferring(tell: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise nothing from a signal within, but at `check` and at the end. `tell` is called when the signal comes."""
    before, _signals.tell = _signals.tell, tell or _signals.tell
    _signals.deferred += 1
    try:
        yield
    finally:
        _signals.deferred -= 1
        _signals.tell = before
    if not _signals.deferred:
        check()


def asked() -> signal.Signals | None:
    """The signal that asks this process to end."""
    return _signals.asked


def check(where: str = "") -> None:
    """Raise Interrupted where a signal asks this process to end; `where` says what is kept of the work."""
    if _signals.asked is not None:
        raise Interrupted(_signals.asked, where)


def previous_handler(number: signal.Signals) -> Any:
    """The handler of a signal from before `listening`."""
    return _signals.previous.get(number)


def _leave_at_once() -> None:
    _say("\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else "")  # a progress bar hides the cursor
    os._exit(128 + signal.SIGINT)


def _say(text: str) -> None:
    """Write to stderr from a signal handler, which may have interrupted a writing to sys.stderr."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
