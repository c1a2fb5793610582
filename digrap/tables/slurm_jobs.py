"""The jobs of runs: Slurm's own states, and the file in outputs that says which job was submitted for which run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from digrap.runs.folder import RunFolder
from digrap.runs.lock import owner_of

SECONDS = 60  # that Slurm may take for an answer
UNKNOWN = "UNKNOWN"
QUEUE = "%i|%T|%A"  # of squeue, and the same fields of sacct: a job or an array's task, its state, its own id
ACCOUNTS = "JobID,State,JobIDRaw"
# States in which a job will run, runs, or is about to be queued again.
ACTIVE = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING",
          "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "SUSPENDED"}  # fmt: skip


def slurm_is_here() -> bool:
    """Whether this machine can ask Slurm."""
    return shutil.which("squeue") is not None


def states(jobs: Iterable[str]) -> dict[str, str] | None:
    """{job: Slurm's state} of this user's `jobs`, each an id or, within an array, <array>_<task> or the task's own id.

    squeue knows waiting, running and lately ended jobs, sacct older ones where the cluster keeps accounts; a job that
    neither knows is UNKNOWN. None where Slurm does not answer.
    """
    wanted = set(jobs)
    listed = _lines("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={QUEUE}")
    if listed is None:
        return None
    found = _wanted(listed, wanted)
    if older := wanted - found.keys():
        numbers = ",".join(sorted({job.partition("_")[0] for job in older}))
        kept = _lines("sacct", "--noheader", "--allocations", "-P", f"--format={ACCOUNTS}", f"--jobs={numbers}")
        found |= _wanted(kept or [], older)
    return {job: found.get(job, UNKNOWN) for job in wanted}


def _wanted(lines: Iterable[str], wanted: set[str]) -> dict[str, str]:
    """{job: state} from lines `job|STATE|own id`; sacct adds ` by <user>` to a state."""
    rows = [line.split("|") for line in lines if line.count("|") == 2]
    by_own = {row[2]: row[1] for row in rows}
    found = by_own | {row[0]: row[1] for row in rows}
    return {job: found[job].split()[0] for job in wanted if found.get(job, "").strip()}


def _lines(*command: str) -> list[str] | None:
    """The output of a command; None where it fails, is missing, or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else [line.strip() for line in done.stdout.splitlines()]


@dataclass(frozen=True)
class Submission:
    """A job that was submitted for a run: `run` is <dataset>/<hash>, or `plan:<table>` for what plans the next stage;
    `time` in seconds since 1970."""

    job: str
    run: str
    time: float


class Ledger:
    """outputs/slurm/jobs.jsonl: a line for each submitted job, oldest first."""

    def __init__(self, outputs: Path):
        self.folder = Path(outputs) / "slurm"
        self.file = self.folder / "jobs.jsonl"

    def note(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Add (job, run) pairs."""
        now = time.time()
        text = "".join(json.dumps(asdict(Submission(job, run, now))) + "\n" for job, run in jobs)
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(text)  # one write: lines of two processes do not mix

    def submissions(self) -> list[Submission]:
        """All of them; a damaged line is left out."""
        found = []
        with contextlib.suppress(OSError), open(self.file, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError):
                    made = Submission(**json.loads(line))
                    found.append(Submission(str(made.job), str(made.run), float(made.time)))
        return found

    def last(self) -> dict[str, str]:
        """{run: the job that was submitted last for it}."""
        return {made.run: made.job for made in self.submissions()}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held between looking at the queue and adding to it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            yield


def job_states(outputs: Path, runs: Iterable[str] = ()) -> dict[str, tuple[str, str]]:
    """{run: (its last job, Slurm's state)} for every run that was submitted, and for those of `runs` that a job is
    making which was submitted by hand; empty without Slurm."""
    last = Ledger(outputs).last()
    for run in runs:
        owner = None if run in last else owner_of(RunFolder(Path(outputs) / run))
        if owner and owner[0].job:
            last[run] = owner[0].job
    if not last or not slurm_is_here() or (found := states(last.values())) is None:
        return {}
    return {run: (job, found[job]) for run, job in last.items()}
