"""A launcher around joblib's: where one of its processes is killed, the other runs are made all the same, and a signal
ends all of them after they have saved."""

import contextlib
import logging
import multiprocessing
import os
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from digrap.core.errors import DigrapError, Interrupted
from digrap.engine import interruption, slurm

log = logging.getLogger(__name__)
joblib_log = logging.getLogger("hydra_plugins.hydra_joblib_launcher._core")
ALONE = 2  # joblib makes no process of its own for 1; of two, the second has nothing to do


class OutlivingLauncher:
    """`launcher`, but a killed process ends only its own run, and that only when it is killed again.

    joblib ends every process when one is killed. Runs resume and finished ones return at once, so the batch is
    launched again, a run at a time, each in a process of its own.
    """

    def __init__(self, launcher: Launcher, config: DictConfig):
        self.launcher, self.config, self.task = launcher, config, launcher.task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch the jobs; one that is killed twice has failed with a DigrapError that names its command."""
        if not hasattr(self.launcher, "joblib"):
            return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        from joblib import effective_n_jobs  # no other launcher needs joblib
        from joblib.externals.loky import get_reusable_executor

        self.launcher.task_function = _Stopping(self.task)
        self.launcher.joblib["initializer"] = interruption.keep_listening
        joblib_log.addFilter(_no_options)
        log.info("%d runs, %d at a time", len(job_overrides), effective_n_jobs(self.launcher.joblib.get("n_jobs", -1)))
        with slurm.guard(), interruption.deferring(_hand_on):
            results = self._launch(_UntilAsked(job_overrides), initial_job_idx)
            for result in results:
                if isinstance(stop := result._return_value, Stopped):
                    get_reusable_executor().shutdown(kill_workers=True)  # all have saved; by themselves they end slowly
                    raise Interrupted(interruption.asked() or stop.signal, stop.kept)
            return results

    def _launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        try:
            return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        except TerminatedWorkerError as error:
            interruption.check()
            log.warning("a process was killed (%s); the unfinished runs are made one at a time", _how(error))
        joblib: dict[str, Any] = self.launcher.joblib
        together, joblib["n_jobs"] = joblib.get("n_jobs"), ALONE
        results = []
        try:
            for place, overrides in enumerate(job_overrides):
                try:
                    results += self.launcher.launch([overrides], initial_job_idx=initial_job_idx + place)
                except TerminatedWorkerError as error:
                    results.append(self._failed(overrides, error))
        finally:
            joblib["n_jobs"] = together
        return results

    def command(self, overrides: Sequence[str]) -> str:
        """The command that makes a job alone, in the folder that it has in this sweep."""
        again = ("hydra.sweep.", *(("hydra/launcher=", "hydra.launcher.", "cluster") if on_slurm(self.config) else ()))
        given = self.config.hydra.overrides
        places = [word for word in (*given.hydra, *given.task) if word.startswith(again)]
        outputs = [word for word in given.task if word.startswith("outputs=")]
        own = [word for word in overrides if word not in outputs]
        return shlex.join(["python", "train.py", *(["-m"] if places else []), *own, *places, *outputs])

    def _failed(self, overrides: Sequence[str], error: Exception) -> JobReturn:
        result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
        result.return_value = DigrapError(
            f"the process of this run was killed twice ({_how(error)}), most likely for lack of memory: free some, or "
            f"give a smaller trainer.micro_batch; this resumes it from its last checkpoint: {self.command(overrides)}"
        )
        return result


def on_slurm(config: DictConfig) -> bool:
    """Whether the sweep's launcher is Slurm's."""
    return str(config.hydra.launcher._target_).endswith(".SlurmLauncher")


class Waiting:
    """A task that waits for a run that another process makes, as wait=true: several jobs may be initialised from one
    run, which the first of them makes, and a killed job on another node is to be given up first."""

    def __init__(self, task: Callable[[DictConfig], Any]):
        self.task = task

    def __call__(self, cfg: DictConfig) -> Any:
        return self.task(OmegaConf.merge(cfg, {"wait": True}))


class Stopped(Exception):
    """An interruption as the result of a job: joblib kills every process as soon as one raises, while they save."""

    def __init__(self, signal: signal.Signals, kept: str):
        super().__init__(signal, kept)
        self.signal, self.kept = signal, kept


class _Stopping:
    """A task that raises Stopped in place of Interrupted."""

    def __init__(self, task: Callable[[DictConfig], Any]):
        self.task = task

    def __call__(self, cfg: DictConfig) -> Any:
        try:
            return self.task(cfg)
        except Interrupted as stop:
            raise Stopped(stop.signal, stop.kept) from None


class _UntilAsked(list):
    """Jobs, of which no further one is begun when a signal has asked this process to end."""

    def __iter__(self) -> Iterator[Sequence[str]]:
        for job in super().__iter__():
            if interruption.asked():
                return
            yield job


def _hand_on() -> None:
    """Tell joblib's processes to end, which a terminal has told already and `kill` has not."""
    for child in multiprocessing.active_children():
        with contextlib.suppress(ProcessLookupError):  # it has ended in this moment
            os.kill(child.pid, signal.SIGTERM)


def _no_options(record: logging.LogRecord) -> bool:
    """False for the line in which Hydra's joblib launcher prints every option of joblib."""
    return not record.getMessage().startswith("Joblib.Parallel(")


def _how(error: Exception) -> str:
    """`SIGKILL(-9)` of joblib's long message."""
    _, found, codes = str(error).partition("exit codes of the workers are {")
    return codes.partition("}")[0] if found else str(error).splitlines()[0]
