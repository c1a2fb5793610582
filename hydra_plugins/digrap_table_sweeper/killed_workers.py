"""A launcher around joblib's: where one of its processes is killed, the other runs are made all the same."""

import logging
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from digrap.core.errors import DigrapError

log = logging.getLogger(__name__)
ALONE = 2  # joblib makes no process of its own for 1; of two, the second has nothing to do


class OutlivingLauncher:
    """`launcher`, but a killed process ends only its own run, and that only when it is killed again.

    joblib ends every process when one is killed. Runs resume and finished ones return at once, so the batch is
    launched again, a run at a time, each in a process of its own.
    """

    def __init__(self, launcher: Launcher, config: DictConfig):
        self.launcher, self.config = launcher, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch the jobs; one that is killed twice has failed with a DigrapError that names its command."""
        from joblib.externals.loky.process_executor import TerminatedWorkerError  # no other launcher needs joblib

        try:
            return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        except TerminatedWorkerError as error:
            log.warning("a process was killed (%s); what is not finished is made one run at a time", _how(error))
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
        own = [word for word in overrides if word != "wait=true"]
        return shlex.join(["python", "train.py", *(["-m"] if places else []), *own, *places])

    def _failed(self, overrides: Sequence[str], error: Exception) -> JobReturn:
        result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
        result.return_value = DigrapError(
            f"the process of this run was killed twice ({_how(error)}), most likely for lack of memory: free some, or "
            f"give a smaller trainer.micro_batch; it goes on from its last checkpoint with {self.command(overrides)}"
        )
        return result


def on_slurm(config: DictConfig) -> bool:
    """Whether the sweep's launcher is Slurm's."""
    return str(config.hydra.launcher._target_).endswith(".SlurmLauncher")


def _how(error: Exception) -> str:
    """`SIGKILL(-9)` of joblib's long message."""
    _, found, codes = str(error).partition("exit codes of the workers are {")
    return codes.partition("}")[0] if found else str(error).splitlines()[0]
