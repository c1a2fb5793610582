"""The start of a run's ranks on this machine: `trainer.devices` processes, watched until the last one has ended."""

from __future__ import annotations

import contextlib
import logging.config
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from digrap.config.compose import register_resolvers
from digrap.config.schema import typed
from digrap.core.errors import DigrapError, Interrupted
from digrap.engine import interruption, ranks, requeues, slurm
from digrap.runs.folder import RunFolder

log = logging.getLogger(__name__)
AFTER_SIGNAL = 60.0  # seconds that ranks have to save and leave once a signal was passed on
AFTER_FAILURE = 10.0  # that the others have once one has failed, and again once they were asked to end


class RankDied(DigrapError):
    """A rank ended without an error of its own: it was killed."""


class RankFailed(RuntimeError):
    """A rank ended by an error that is not the user's; the text is its traceback."""


def train(cfg: DictConfig, folder: Path) -> float:
    """`run` on as many processes as the environment has started, or as trainer.devices says."""
    from digrap.engine.run import run  # ranks of other work need none of it

    done = not cfg.fresh and RunFolder(folder).done()
    counted = not done and slurm.job_id() is not None and slurm.rank() == 0
    if counted:
        requeues.count_start(cfg, folder)
    try:
        score = _on_ranks(cfg, run, cfg, folder, done=done)
        if counted:
            requeues.forget(folder)
        return score
    except RankDied as error:
        with contextlib.suppress(OSError):
            RunFolder(folder).write_error(str(error))  # the others saw no more than a lost connection
        raise


def score(cfg: DictConfig, other_data: bool = False) -> None:
    """`rescore` on as many processes as the environment has started, or as trainer.devices says."""
    from digrap.engine.rescore import rescore

    _on_ranks(cfg, rescore, cfg, other_data)


def _on_ranks(cfg: DictConfig, work: Callable, *args: Any, done: bool = False) -> Any:
    ranks.join_slurm_step()
    ranks.quiet()
    trainer = cfg.trainer.get("devices", 1)
    devices = trainer if isinstance(trainer, int) else typed(cfg).trainer.devices
    if ranks.given():
        return _as_one_of_several(work, *args)
    if devices == 1 or done:
        return work(*args)
    _check_machine(cfg.device, devices)
    return start(devices, work, *args)


def _as_one_of_several(work: Callable, *args: Any) -> Any:
    """What torchrun or srun has started: the first rank's error is the run's, others are mentioned."""
    try:
        return work(*args)
    except DigrapError as error:
        if ranks.rank() == 0:
            raise
        log.warning("rank %d: %s", ranks.rank(), error)
        raise SystemExit(2) from None


def _check_machine(device: str, count: int) -> None:
    """Raise DigrapError where this machine has not that many devices of the kind."""
    kind, there = str(device).split(":")[0], torch.cuda.device_count()
    if count < 1:
        raise DigrapError(f"trainer.devices={count} is out of range; give at least 1")
    if kind == "mps":
        raise DigrapError(f"trainer.devices={count}: device=mps is one device; leave trainer.devices out")
    if kind != "cpu" and there and there < count:
        raise DigrapError(
            f"trainer.devices={count}: this machine has {there} GPU{'s' * (there > 1)}; give trainer.devices={there}, "
            "or device=cpu for processes without one"
        )


def start(count: int, work: Callable, *args: Any) -> Any:
    """Call `work(*args)` in `count` processes that torch.distributed connects; return the first one's result.

    What the first failing rank raised is raised here: a DigrapError, an OSError or what ends a process as it was, any
    other error as RankFailed with its traceback, a killed rank as RankDied. The others are ended then. A signal that
    asks this process to end is passed on to all ranks; Interrupted, once they have saved and left.
    """
    # This process serves the store, at a port that the system chose and nobody can take in between.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), slurm.PARENT: str(os.getpid()),
    }  # fmt: skip
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(count)]
    senders = [sender for _, sender in pipes]
    watched = _Ranks([receiver for receiver, _ in pipes])
    with slurm.guard(), interruption.deferring(tell=watched.pass_signal_on):
        arguments = (senders, environment, _Surroundings.here(), work, args)
        with _signals_held(), _known_start_method():
            context = torch.multiprocessing.start_processes(_rank, arguments, count, join=False)
            watched.processes = context.processes
            if interruption.asked():  # before there were any
                watched.pass_signal_on()
        for sender in senders:
            sender.close()
        return watched.result()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals back while ranks are started, which inherit that and take them once they can."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, interruption.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


@contextlib.contextmanager
def _known_start_method() -> Iterator[None]:
    """Take Python's own way of starting processes where joblib has put its own, which its children would not know."""
    before, known = multiprocessing.get_start_method(allow_none=True), multiprocessing.get_all_start_methods()
    if before in (None, *known):
        yield
        return
    multiprocessing.set_start_method(known[0], force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


@dataclass(frozen=True)
class _Surroundings:
    """What the first rank takes over from this process: its name, which decides about bars, and its logging."""

    name: str
    logging: dict[str, Any] | None

    @classmethod
    def here(cls) -> _Surroundings:
        logs = HydraConfig.get().job_logging if HydraConfig.initialized() else None
        return cls(multiprocessing.current_process().name, logs and OmegaConf.to_container(logs, resolve=True))


def _rank(
    rank: int,
    senders: list[Connection],
    environment: dict[str, str],
    surroundings: _Surroundings,
    work: Callable,
    args: tuple,
) -> None:
    """One rank's process: do the work, send (result, None) or (None, what ended it) to the parent."""
    os.setsid()  # a Ctrl-C reaches the ranks through the parent, once
    os.environ |= {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    for other in senders[:rank] + senders[rank + 1 :]:
        other.close()
    multiprocessing.current_process().name = surroundings.name
    if surroundings.logging is not None and rank == 0:
        logging.config.dictConfig(surroundings.logging)
    ranks.quiet()
    register_resolvers()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(environment["WORLD_SIZE"])))
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        result = work(*args)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    except BaseException as error:
        senders[rank].send((None, _portable(error, rank)))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # a thread or a destructor of a broken group of processes might wait for the others
    senders[rank].send((result if rank == 0 else None, None))


def _portable(error: BaseException, rank: int) -> BaseException:
    """The error itself, where the parent should raise it as it is, else RankFailed with its traceback."""
    if isinstance(error, (DigrapError, OSError)) or not isinstance(error, Exception):
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error
    return RankFailed(f"rank {rank} of the run failed:\n{traceback.format_exc()}")


@dataclass
class _Ranks:
    """Processes that are watched: who has said what, and what ended the first of them that failed."""

    receivers: list[Connection]
    processes: list[Any] = field(default_factory=list)
    results: dict[int, Any] = field(default_factory=dict)
    failure: BaseException | None = None
    deadline: float | None = None
    asked: bool = False  # to end

    def pass_signal_on(self) -> None:
        """Pass the signal that asks this process to end on to the ranks."""
        self.deadline = time.monotonic() + AFTER_SIGNAL
        for process in self.processes:
            if process.exitcode is None:
                os.kill(process.pid, interruption.asked())

    def result(self) -> Any:
        """Wait for all ranks; the first one's result. Raises what ended the first that failed."""
        silent = dict(enumerate(self.receivers))
        living = {process.sentinel: k for k, process in enumerate(self.processes)}
        while living:
            ready = wait([*silent.values(), *living], timeout=0.5)
            ended = [living.pop(sentinel) for sentinel in living.keys() & set(ready)]
            for rank in ended + [rank for rank, receiver in silent.items() if receiver in ready]:
                if rank in silent:
                    self._has_said(rank, silent.pop(rank))
            self._keep_time()
        if self.failure is not None:
            raise self._cause() from None
        return self.results[0]

    def _has_said(self, rank: int, receiver: Connection) -> None:
        try:
            self.results[rank], failure = receiver.recv()
        except (EOFError, ConnectionError):
            failure = self._death(rank)
        if failure is not None and self.failure is None:
            self.failure = failure
            self.deadline = self.deadline or time.monotonic() + AFTER_FAILURE

    def _death(self, rank: int) -> BaseException:
        """What ended a rank that has said nothing."""
        self.processes[rank].join()
        code = self.processes[rank].exitcode
        if code >= 0:
            return RankFailed(f"rank {rank} of the run ended with exit code {code} and no message")
        name = signal.Signals(-code).name
        memory = ", most likely for lack of memory" if name == "SIGKILL" else ""
        again = "the same command resumes from the last checkpoint"
        return RankDied(f"rank {rank} of the run was ended by {name}{memory}; {again}")

    def _keep_time(self) -> None:
        """Ask ranks to end that are left when time is up, and kill those that are left after that."""
        if self.deadline is None or time.monotonic() < self.deadline:
            return
        for process in self.processes:
            if process.exitcode is None:
                process.kill() if self.asked else process.terminate()
        self.asked, self.deadline = True, time.monotonic() + AFTER_FAILURE

    def _cause(self) -> BaseException:
        """What ended the ranks: a signal that was passed on, where the failure is no more than what it did."""
        if (stop := interruption.asked()) and isinstance(self.failure, (RankDied, RankFailed)):
            return Interrupted(stop)
        return self.failure
