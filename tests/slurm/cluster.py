"""A real Slurm of one or more nodes on this host: this user's daemons in a folder, on ports that the system chooses."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel")
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL"}

SUMMARY: list[str] = []  # lines that `make test-slurm` prints at its end

CONF = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Sockets=1 CoresPerSocket={cpus} "
    "ThreadsPerCore=1 RealMemory=8000 Gres=gpu:4\n"
)


def missing() -> list[str]:
    """The programs of Slurm and munge that this machine lacks."""
    found = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in NEEDED if shutil.which(name, path=found) is None]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@dataclass
class Cluster:
    """Slurm in `folder`. `grace` seconds pass between SIGTERM and the end of a preempted job. Processes with
    `environment` reach it."""

    folder: Path
    nodes: int = 1
    cpus: int = 8
    grace: int = 30

    @property
    def environment(self) -> dict[str, str]:
        """Variables for processes that are to use this cluster."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        return {**os.environ, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start the daemons. Raises RuntimeError, with the ends of their logs, where a node does not become idle."""
        (self.folder / "log").mkdir(parents=True, exist_ok=True)
        (self.folder / "state").mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self._write_configuration()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        at = {name: self.folder / f"munge{end}" for name, end in (("socket", ".sock"), ("seed", ".seed"))}
        self.run(
            "munged", "--force", f"--key-file={key}", f"--socket={at['socket']}", f"--seed-file={at['seed']}",
            f"--pid-file={self.folder / 'munged.pid'}", f"--log-file={self.folder / 'log' / 'munged.log'}",
        )  # fmt: skip
        self.run("slurmctld", "-c")
        for n in range(self.nodes):
            (self.folder / f"spool-n{n}").mkdir(exist_ok=True)
            self.run("slurmd", "-c", "-N", f"n{n}")
        if not self.until(lambda: self.idle_nodes() == self.nodes, 60):
            logs = "\n".join(file.read_text()[-1500:] for file in (self.folder / "log").glob("*.log"))
            self.stop()
            raise RuntimeError(f"Slurm did not start:\n{logs}")

    def _write_configuration(self) -> None:
        host = socket.gethostname().partition(".")[0]
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        lines = CONF.format(folder=self.folder, host=host, user=user, port=free_port(), grace=self.grace)
        for n in range(self.nodes):
            lines += NODE.format(n=n, host=host, port=free_port(), cpus=self.cpus)
        (self.folder / "slurm.conf").write_text(lines.lstrip())
        devices = "".join(f"NodeName=n{n} Name=gpu File=/dev/tty[0-3]\n" for n in range(self.nodes))
        (self.folder / "gres.conf").write_text(devices)

    def send_user_signal(self) -> None:
        """From now on a preempted job gets its own --signal, not SIGTERM."""
        with open(self.folder / "slurm.conf", "a") as file:
            file.write("SlurmctldParameters=preempt_send_user_signal\n")
        self.run("scontrol", "reconfigure")

    def idle_nodes(self) -> int:
        return len(self.run("sinfo", "-h", "-p", "main", "-N", "-t", "idle", "-o", "%N", check=False).split())

    def stop(self) -> None:
        """End the jobs, then the daemons, each by its own pid file."""
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.run("scancel", "--full", "-u", str(os.getuid()), check=False)
            self.until(lambda: not self.run("squeue", "-h", check=False), 10)
        for file in (*self.folder.glob("slurmd-*.pid"), self.folder / "slurmctld.pid", self.folder / "munged.pid"):
            with contextlib.suppress(OSError, ValueError):
                _end(int(file.read_text()))
                file.unlink()

    def run(self, *words: object, check: bool = True, **options) -> str:
        """The output of a command that reaches this cluster."""
        done = subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True, timeout=120, **options
        )
        if check and done.returncode:
            raise RuntimeError(f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    # --- jobs ---------------------------------------------------------------------------------------------------

    def jobs(self) -> dict[str, dict[str, str]]:
        """{job id, A_T within an array: its facts as scontrol shows them}."""
        found = {}
        for line in self.run("scontrol", "show", "job", "-o", check=False).splitlines():
            facts = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
            array, task = facts.get("ArrayJobId"), facts.get("ArrayTaskId")
            if "JobId" in facts:
                found[f"{array}_{task}" if array else facts["JobId"]] = facts
        return found

    def state(self, job: str) -> str:
        """Slurm's state of a job."""
        return self.jobs().get(job, {}).get("JobState", "")

    def until(self, true, seconds: float, every: float = 0.25) -> bool:
        """Wait until `true()` holds, `seconds` at most. Returns whether it does."""
        end = time.monotonic() + seconds
        while not (holds := true()) and time.monotonic() < end:
            time.sleep(every)
        return bool(holds)

    def preempt(self, seconds: int = 2) -> str:
        """Take every core for `seconds` by a job of higher priority, and wait for its end. Returns its id."""
        words = ["sbatch", "--parsable", "-p", "high", "-N", self.nodes, f"--ntasks-per-node={self.cpus}"]
        job = self.run(*words, "-o", "/dev/null", f"--wrap=sleep {seconds}").strip()
        if not self.until(lambda: self.state(job) == "COMPLETED", 120):
            raise RuntimeError(f"the preempting job is {self.state(job)}")
        return job


def _end(pid: int) -> None:
    for number, waits in ((signal.SIGTERM, 50), (signal.SIGKILL, 20)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        for _ in range(waits):
            if not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.1)
