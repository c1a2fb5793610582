"""Progress of long steps: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeVar

log = logging.getLogger(__name__)
Item = TypeVar("Item")
QUIET_SECONDS = 10.0
NOTE_SECONDS = 2.0


def track(
    iterable: Iterable[Item],
    description: str,
    total: float | None = None,
    size: Callable[[Item], int] = lambda _: 1,
    note: Callable[[], str] = str,
    last: bool = True,
    unit: str = "",
) -> Iterator[Item]:
    """Yield the items and show how many are done, the rate and the time left.

    An item counts as `size(item)`, a batch as its examples, say; `total` counts likewise, and `unit` names what is
    counted ("examples"). `note` gives further numbers to show, and is called at most once in two seconds.

    If stderr is a terminal, this is a bar; otherwise log lines of level INFO, at most one in ten seconds and, where
    `last`, one at the end. By default `total` is `len(iterable)` if it has a length.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    # The bars of a sweep's processes would overwrite each other.
    alone = multiprocessing.current_process().name == "MainProcess"
    display = _bar if alone and sys.stderr.isatty() else _lines
    return display(iterable, _Shown(description, total, size, note, last, unit and f" {unit}"))


@dataclass(frozen=True)
class _Shown:
    """What `track` was given."""

    description: str
    total: float | None
    size: Callable[[Any], int]
    note: Callable[[], str]
    last: bool
    unit: str


def _bar(iterable: Iterable[Item], show: _Shown) -> Iterator[Item]:
    # rich takes a third of a second to import, so it is imported only for a terminal.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    noted = 0.0
    with Progress(*columns, console=Console(stderr=True), transient=not show.last) as progress:
        task = progress.add_task(show.description, total=show.total)
        for item in iterable:
            yield item
            progress.advance(task, show.size(item))
            if (now := time.monotonic()) - noted >= NOTE_SECONDS:
                progress.update(task, description=show.description + show.note())
                noted = now


def console():
    """A rich console that prints tables at full width into files and pipes too."""
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def _lines(iterable: Iterable[Item], show: _Shown) -> Iterator[Item]:
    start = spoken = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += show.size(item)
        now = time.monotonic()
        if now - spoken >= QUIET_SECONDS and done != show.total:
            rate = done / (now - start)
            of, left = (f" of {show.total:g}", f", {(show.total - done) / rate:.0f} s left") if show.total else ("", "")
            log.info("%s: %d%s%s (%s)%s%s", show.description, done, of, show.unit, _per_second(rate), left, show.note())
            spoken = now
    seconds = time.monotonic() - start
    if show.last:
        rate = _per_second(done / max(seconds, 1e-9))
        log.info("%s: %d%s in %.1f s (%s)", show.description, done, show.unit, seconds, rate)


def _per_second(rate: float) -> str:
    return f"{rate:.0f}/s" if rate >= 100 else f"{rate:.3g}/s"
