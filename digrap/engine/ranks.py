"""The environment of a run's processes: its ranks, whether torchrun, srun or the engine itself started them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shlex
import socket
import subprocess
import sys

from digrap.core.errors import DigrapError

STEP_TASKS = "SLURM_STEP_NUM_TASKS"


def given() -> bool:
    """Whether this process is one of several ranks that something else has started."""
    return world() > 1


def world() -> int:
    """The number of ranks, this process among them."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1


def rank() -> int:
    """This process's number among the ranks, 0 for the first or only one."""
    return int(os.environ.get("RANK", 0))


def join_slurm_step() -> None:
    """Give a task of an srun step with several tasks the environment that torchrun would give it.

    What torchrun or the engine has set is left alone, and so is a batch script outside of srun: it has a process
    number too, but is one process.
    """
    env = os.environ
    if "RANK" in env or int(env.get(STEP_TASKS, 1)) < 2:
        return
    tasks, local = int(env[STEP_TASKS]), int(env["SLURM_LOCALID"])
    visible = [name for name in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    job, step = int(env["SLURM_JOB_ID"]), int(env.get("SLURM_STEP_ID", 0))
    env |= {
        "RANK": env["SLURM_PROCID"],
        "WORLD_SIZE": str(tasks),
        "LOCAL_RANK": str(local % len(visible) if visible else local),  # gpus_per_task: a task sees its own alone
        "LOCAL_WORLD_SIZE": str(-(-tasks // int(env.get("SLURM_STEP_NUM_NODES", 1)))),
        "MASTER_ADDR": _first_host(),
        "MASTER_PORT": str(20000 + (31 * job + step) % 20000),  # steps of one job may run side by side
    }


def _first_host() -> str:
    """The address of the step's first node; that of the host which launched the step where no name server knows it."""
    nodes, launcher = os.environ.get("SLURM_STEP_NODELIST", ""), os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    try:
        shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, timeout=30)
        first = shown.stdout.split()[0]
        socket.getaddrinfo(first, None)
    except (OSError, IndexError, subprocess.SubprocessError):
        return launcher
    return first


def quiet() -> None:
    """Let ranks other than the first print only warnings, draw no bars, and write no log file."""
    if rank() == 0:
        return
    multiprocessing.current_process().name = f"rank {rank()}"
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()


def check_devices(devices: int) -> None:
    """Raise DigrapError where trainer.devices is neither 1 nor the number of ranks that were started."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world()))
    if devices in (1, local, world()):
        return
    if given():
        raise DigrapError(
            f"trainer.devices={devices}: {world()} processes were started for this run; leave trainer.devices out, or "
            "start train.py without torchrun or srun"
        )
    raise DigrapError(f"trainer.devices={devices}: start the run by `python train.py`, which starts its processes")


def check_no_sweep(arguments: list[str]) -> None:
    """Raise DigrapError for the `arguments` of a multirun that torchrun or srun has started several times. Ranks other
    than the first end silently."""
    count = int(os.environ.get("LOCAL_WORLD_SIZE", world()))
    if "RANK" not in os.environ:
        count = int(os.environ.get(STEP_TASKS, 1))
    if max(count, world()) < 2:
        return
    if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))):
        sys.exit(2)
    kept = [word for word in arguments if not word.startswith("trainer.devices=")]
    command = shlex.join(["python", "train.py", *kept, f"trainer.devices={count}"])
    raise DigrapError(f"-m: each of the processes that torchrun or srun started would run the whole sweep; {command}")
