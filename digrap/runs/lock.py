"""The lock of a run's folder: flock, which a file system that several machines share may not carry from one to another,
and beside it a file that says who holds the folder and whose time of change is a sign of life."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from digrap.core.errors import Busy
from digrap.core.files import with_name
from digrap.runs.folder import RunFolder

BEAT = 30.0  # seconds between two signs of life
GONE = 300.0  # seconds without one after which an owner on another machine is taken to be gone
PATIENCE = 0.5  # seconds; status asks for the lock for an instant
SAME_START = 5.0  # seconds; the clock that a process's start is told by may be set
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """The process that holds a folder, as it wrote itself down. `started` is when it was, in seconds since the epoch;
    `restart` counts how often Slurm has started its `job`; `token` is its own."""

    host: str
    pid: int
    started: float
    job: str | None
    restart: int
    token: str

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        started, restart = psutil.Process().create_time(), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        job = os.environ.get("SLURM_JOB_ID")  # also of an array's task its own
        return cls(platform.node(), os.getpid(), started, job, restart, uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f" (job {self.job})" if self.job else "")

    def gone(self, age: float) -> str | None:
        """Why it no longer holds the folder, given the seconds since its last sign of life; None where it may."""
        if self.host == platform.node():
            return None if self._runs() else "which has ended"
        restart = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        if self.job is not None and self.job == os.environ.get("SLURM_JOB_ID") and self.restart < restart:
            return "an earlier start of this job"
        return f"which has given no sign of life for {age / 60:.0f} minutes" if age > GONE else None

    def _runs(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) <= SAME_START
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:  # another user's
            return True


def owner_of(run: RunFolder) -> tuple[Owner, float] | None:
    """Who is written down as the holder of a folder, and the seconds since its last sign of life by this machine's
    clock; None where nobody is, or what is there cannot be read."""
    try:
        with open(run.owner_file, encoding="utf-8") as file:
            return _read(file), time.time() - os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError, TypeError):
        return None


def held(run: RunFolder) -> bool:
    """Whether a process is writing the folder, as far as this machine can tell. Leaves nothing behind."""
    if (found := owner_of(run)) is not None and found[0].gone(found[1]) is None:
        return True
    if not run.lock_file.is_file():  # asking makes no file
        return False
    try:
        with FileLock(run.lock_file, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # this user may not lock it
        return False


def forget_gone(run: RunFolder) -> None:
    """Remove what is written down of a holder that is gone, from a folder that nobody needs to hold any more."""
    if (found := owner_of(run)) is not None and found[0].gone(found[1]) is not None:
        run.owner_file.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(run: RunFolder, wait: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a run's folder, after its holder where `wait`; the folder of one that is gone is taken over.

    Yields a function that raises Busy where another process has taken the folder over meanwhile. Raises Busy where one
    holds it and not `wait`.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    lock, me = FileLock(run.lock_file), Owner.me()
    _acquire(run, lock, me, wait)
    try:
        with _beating(run, me):
            yield lambda: _check(run, me)
    finally:
        lock.release()


def _acquire(run: RunFolder, lock: FileLock, me: Owner, wait: bool) -> None:
    noticed = False
    while True:
        try:
            lock.acquire(timeout=60 if wait and noticed else PATIENCE)
        except Timeout:
            holder = owner_of(run)
        else:
            if (holder := _claim(run, me)) is None:
                return
            lock.release()
        if not wait:
            raise Busy(_refusal(run, holder))
        if not noticed:
            log.info("waiting for %s, which %s is making", run.path, holder[0] if holder else "another process")
            noticed = True
        time.sleep(PATIENCE)  # where only the file tells of the holder, look now and then


def _refusal(run: RunFolder, holder: tuple[Owner, float] | None) -> str:
    if holder is None:
        return f"{run.path} is being written by another process; wait=true waits for it"
    owner, age = holder
    there = f"{run.path} is being written by another process: {owner}, last sign of life {max(age, 0):.0f} s ago; "
    if owner.host == platform.node():
        return there + "wait=true waits for it"
    minutes = f"{GONE / 60:.0f} minutes"
    return there + f"wait=true waits for it. {minutes} after its last sign of life the same command takes the run over"


def _claim(run: RunFolder, me: Owner) -> tuple[Owner, float] | None:
    """Write this process down as the holder, in place of one that is gone. Returns the holder where that is not so."""
    for _ in range(2):
        with contextlib.suppress(FileExistsError):
            _write(run.owner_file, me)
            return None
        if (holder := _put_aside(run, me)) is not None:
            return holder
    return owner_of(run)


def _write(path: Path, me: Owner) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)  # made once by one process, on NFS too
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(me)) + "\n")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise with_name(error, path) from None


def _put_aside(run: RunFolder, me: Owner) -> tuple[Owner, float] | None:
    """Remove what is written down of a holder that is gone; returns one that is not."""
    aside = run.owner_file.with_name(f"{run.owner_file.name}.{me.token}.tmp")
    try:
        with open(run.owner_file, encoding="utf-8") as file:
            changed = os.fstat(file.fileno()).st_mtime
            try:
                owner = _read(file)
            except (ValueError, TypeError):  # of a version that writes it otherwise, or cut off
                owner = Owner("a machine that is not known", 0, 0.0, None, 0, "")
        os.utime(run.lock_file)
        age = run.lock_file.stat().st_mtime - changed  # by one clock, the file system's
        if (why := owner.gone(age)) is None:
            return owner, age
        run.owner_file.rename(aside)
        with open(aside, encoding="utf-8") as file:
            if _token(file) != owner.token:  # another process was quicker
                aside.rename(run.owner_file)
                return owner_of(run)
        log.warning("%s is taken over from %s, %s", run.path, owner, why)
    except FileNotFoundError:  # it has let go
        pass
    finally:
        aside.unlink(missing_ok=True)
    return None


@contextlib.contextmanager
def _beating(run: RunFolder, me: Owner) -> Iterator[None]:
    """Give signs of life while this process holds the folder, and let go at the end."""
    end = threading.Event()
    thread = threading.Thread(target=_beat, args=(run, me, end), name=f"lock of {run.path.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        if _mine(run, me):
            run.owner_file.unlink(missing_ok=True)


def _beat(run: RunFolder, me: Owner, end: threading.Event) -> None:
    while not end.wait(BEAT):
        with contextlib.suppress(OSError), open(run.owner_file, encoding="utf-8") as file:
            if _token(file) == me.token:  # of the file that is open, whoever renames it meanwhile
                os.utime(file.fileno())


def _check(run: RunFolder, me: Owner) -> None:
    if not _mine(run, me):
        found = owner_of(run)
        raise Busy(
            f"{run.path} was taken over by {found[0] if found else 'another process'} while this one gave no sign of "
            f"life for {GONE / 60:.0f} minutes; its work since the last checkpoint was not saved"
        )


def _mine(run: RunFolder, me: Owner) -> bool:
    try:
        with open(run.owner_file, encoding="utf-8") as file:
            return _token(file) == me.token
    except FileNotFoundError:
        return False


def _read(file: Any) -> Owner:
    """Raises ValueError or TypeError for what is not an owner."""
    plain = json.load(file)
    owner = Owner(**plain)
    kinds = {"host": str, "pid": int, "started": float, "job": str | None, "restart": int, "token": str}
    if wrong := [key for key, kind in kinds.items() if not isinstance(plain[key], kind)]:
        raise ValueError(f"{wrong[0]} is {plain[wrong[0]]!r:.60}")
    return owner


def _token(file: Any) -> str:
    try:
        return _read(file).token
    except (ValueError, TypeError):
        return ""
