"""Hydra's stock Slurm launcher as the sweeper uses it: a job that ends without a result fails alone, and submitted jobs
are noted for status.py. Hydra's search for plugins passes over a file with this name, and so over submitit."""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from submitit import SlurmJob
from submitit.core.utils import UncompletedJobError
from submitit.slurm.slurm import SlurmInfoWatcher

from digrap.core.errors import DigrapError
from digrap.tables.slurm_jobs import states

log = logging.getLogger(__name__)
LOOK_SECONDS = 30  # at most this long a job's end stays unnoticed
LOG_LINES = 5


class Watcher(SlurmInfoWatcher):
    """submitit's view of the queue, by squeue first: submitit itself asks sacct alone and waits for ever for a killed
    job where the cluster keeps no accounts. `note` is called with every job as submitit registers it."""

    def __init__(self, note: Callable[[str], None]):
        super().__init__(delay_s=LOOK_SECONDS)
        self.note = note

    def register_job(self, job_id: str) -> None:
        """As submitit's."""
        if job_id not in self._registered:
            self.note(job_id)
        super().register_job(job_id)

    def update(self) -> None:
        """Ask for the jobs that are not finished."""
        asked = self._registered - self._finished
        found = states(asked) if asked else {}
        self._last_status_check = time.time()
        if found is None:
            log.warning("squeue does not answer; asking again")
            return
        # A job that Slurm has forgotten has ended.
        known = {job: {"State": "GONE" if state == "UNKNOWN" else state} for job, state in found.items()}
        self._info_dict.update(known)
        self._finished |= {job for job in asked if self.is_done(job, mode="cache")}


class SlurmBatches:
    """`launcher`, Hydra's own for Slurm, but each job has an outcome of its own."""

    def __init__(self, launcher: Launcher, submitted: Callable[[list[str]], None]):
        self.launcher, self.submitted, self.task_function = launcher, submitted, launcher.task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch the jobs and wait for all; `submitted` is called with their ids, in order, as soon as Slurm has them.

        A job that ends without a result (killed, cancelled, lost with its node) has failed with a DigrapError.
        """
        if shutil.which("srun") is None:
            elsewhere = "run this on a machine of the cluster, or with dry_run=true, or use hydra/launcher=joblib"
            raise DigrapError(f"hydra/launcher=slurm: there is no srun here; {elsewhere}")
        jobs: list[str] = []

        def note(job: str) -> None:
            jobs.append(job)
            if len(mine := self._of_the_batch(jobs, len(job_overrides))) == len(job_overrides):
                self.submitted(mine)

        stock, SlurmJob.watcher = SlurmJob.watcher, Watcher(note)
        try:
            return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        except UncompletedJobError as error:  # of the first such job; the others go on
            if not (mine := self._of_the_batch(jobs, len(job_overrides))):
                raise DigrapError(f"sbatch refused the runs: {_said(str(error))}; see cluster=…") from error
            return [self._outcome(job, words) for job, words in zip(mine, job_overrides, strict=True)]
        except KeyboardInterrupt:
            if jobs:
                number = jobs[0].partition("_")[0]
                log.warning("the jobs stay in Slurm's queue (scancel %s ends them); the same command waits", number)
            raise
        finally:
            SlurmJob.watcher = stock

    @staticmethod
    def _of_the_batch(jobs: list[str], count: int) -> list[str]:
        """One job is a job of its own; several are tasks of an array, whose own id is registered before them."""
        return jobs[:1] if count == 1 else [job for job in jobs if "_" in job]

    def _outcome(self, job: str, overrides: Sequence[str]) -> JobReturn:
        """Wait for a job; its result, or a failed one that says how it ended."""
        folder = Path(self.launcher.params["submitit_folder"])
        submitted = SlurmJob(folder=folder, job_id=job)
        try:
            return submitted.result()
        except UncompletedJobError:
            result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
            said = _said(submitted.stderr() or submitted.stdout() or "")
            result.return_value = DigrapError(
                f"Slurm job {job} is {submitted.state} and left no result; its output is {submitted.paths.stderr}"
                + (f":\n      {said}" if said else "")
            )
            return result


def _said(text: str) -> str:
    """The last lines of an output."""
    return "\n      ".join(line for line in text.splitlines()[-LOG_LINES:] if line.strip())
