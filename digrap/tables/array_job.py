"""An array job of Slurm for a table's runs, as a script for sbatch beside a file with one command a line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from digrap.config.cluster import Cluster, sbatch_lines
from digrap.config.overrides import override
from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.core.paths import REPO
from digrap.tables.spec import Cell

LARGEST = 1000  # tasks of an array; Slurm's default MaxArraySize is 1001
PLAN_MINUTES = 60
KEPT = ("SLURM_CONF",)  # what the next sbatch needs of a job's own variables
# The signal must not end Python while it imports: a handler replaces the trap.
STEP = """srun --kill-on-bad-exit=1 bash -c 'trap "" USR2; eval "exec $0"' "$command\""""


def array_lines(cluster: Cluster, count: int) -> str:
    """The lines for sbatch of an array of `count` runs."""
    if not count:
        return "No run is ready, so nothing would be submitted."
    options = {"array": f"0-{count - 1}%{cluster.parallel}", **cluster.options()}
    return "\n".join([f"{count} runs would be submitted now, with", *sbatch_lines(options)])


def command(cell: Cell, outputs: Path) -> str:
    """The shell command that makes a run, in its folder, from the repository. It waits for a killed job on another node
    to be given up. Raises DigrapError for a line break."""
    folder = override("hydra.run.dir", cell.folder(outputs))
    words = [sys.executable, "-u", "train.py", *cell.overrides, "wait=true", folder]
    if any("\n" in word for word in words):
        raise DigrapError(f"{cell.row}: an override has a line break, but a command is one line; remove it")
    return shlex.join(words)


def write_array(folder: Path, name: str, commands: Sequence[str], cluster: Cluster) -> Path:
    """Write <name>.txt, a command a line, and <name>.sh, which runs line k as task k. Returns the script."""
    folder = folder.absolute()
    manifest = folder / f"{name}.txt"
    write_text(manifest, "".join(f"{line}\n" for line in commands))
    options = {
        "job-name": f"digrap-{name}", "array": f"0-{len(commands) - 1}%{cluster.parallel}",
        "output": f"{_plain(folder)}/%A_%a.log", **cluster.options(),
    }  # fmt: skip
    lines = [
        "#!/bin/bash", *sbatch_lines(options), "", f"cd {shlex.quote(str(REPO))} || exit 1", *cluster.setup_lines,
        f'command=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(manifest))})',
        'echo "$(date) $SLURMD_NODENAME: $command"', STEP,
    ]  # fmt: skip
    return _script(folder / f"{name}.sh", lines)


def write_plan(folder: Path, name: str, words: Sequence[str], cluster: Cluster) -> Path:
    """Write plan.sh, a small job that calls `words` in the repository. Returns it."""
    folder = folder.absolute()
    asked = {"partition": cluster.plan_partition or cluster.partition, "account": cluster.account, "qos": cluster.qos}
    options = {key: value for key, value in asked.items() if value is not None}
    if cluster.mail:
        options |= {"mail-user": cluster.mail, "mail-type": "FAIL"}
    options |= {
        "job-name": f"digrap-{name}-plan", "output": f"{_plain(folder)}/plan-%j.log", "nodes": 1, "ntasks": 1,
        "cpus-per-task": 1, "time": PLAN_MINUTES, "requeue": True, "open-mode": "append",
    }  # fmt: skip
    lines = ["#!/bin/bash", *sbatch_lines(options), "", f"cd {shlex.quote(str(REPO))} || exit 1", *cluster.setup]
    return _script(folder / "plan.sh", [*lines, f"exec {shlex.join(words)}"])


def submit(script: Path, after: Sequence[str] = ()) -> str:
    """Submit a script, to begin when the jobs `after` have ended, however they ended; the job's id. Raises DigrapError
    with what sbatch says."""
    wait = [f"--dependency=afterany:{':'.join(after)}"] if after else []
    ours = {key: value for key, value in os.environ.items() if key in KEPT or not key.startswith(("SLURM_", "SBATCH_"))}
    words = ["sbatch", "--parsable", *wait, str(script)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=ours)
    except FileNotFoundError:
        raise DigrapError("sbatch was not found: run this on a machine of the cluster, or with dry_run=true") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise DigrapError(f"{shlex.join(words)}: {said}; correct cluster=… (configs/cluster/_base.yaml has its keys)")
    return done.stdout.strip().partition(";")[0]


def _plain(folder: Path) -> str:
    """A folder in a pattern of Slurm's, where % begins a placeholder."""
    return str(folder).replace("%", "%%")


def _script(file: Path, lines: Sequence[str]) -> Path:
    write_text(file, "\n".join(lines) + "\n")
    return file
