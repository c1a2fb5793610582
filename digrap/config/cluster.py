"""The settings of the config group `cluster`: what Slurm is asked for, for every run of a table."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.core.errors import DigrapError, first_line

SETUP = ("export SLURM_KILL_BAD_EXIT=1", "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK")  # since 22.05 srun asks anew


@dataclass
class Cluster:
    """The keys of configs/cluster/_base.yaml, which says what they mean."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: int = 1
    gpus: int | None = 1
    cpus: int = 4
    mem_gb: int | None = None
    minutes: int = 1440
    warn_s: int = 120
    parallel: int = 256
    mail: str | None = None
    setup: list[str] = field(default_factory=list)
    sbatch: dict[str, Any] = field(default_factory=dict)
    plan_partition: str | None = None

    @property
    def tasks(self) -> int:
        """Processes a node: one for each GPU."""
        return self.gpus or 1

    @property
    def mail_type(self) -> str | None:
        """What Slurm writes about, where there is an address."""
        return self.mail and "FAIL"

    @property
    def setup_lines(self) -> list[str]:
        """Shell lines before srun: ours, then the user's."""
        return [*SETUP, *self.setup]

    @property
    def further(self) -> dict[str, Any]:
        """Options of sbatch that have no key of their own here."""
        return {"requeue": True, **self.sbatch}

    def options(self) -> dict[str, Any]:
        """The options of sbatch for one run, by their long names; True stands for an option without a value."""
        named = {
            "partition": self.partition, "account": self.account, "qos": self.qos, "constraint": self.constraint,
            "nodes": self.nodes, "ntasks-per-node": self.tasks, "gpus-per-node": self.gpus,
            "cpus-per-task": self.cpus, "mem": self.mem_gb and f"{self.mem_gb}GB", "time": self.minutes,
            "signal": f"USR2@{self.warn_s}", "open-mode": "append", "mail-user": self.mail,
            "mail-type": self.mail_type, **self.further,
        }  # fmt: skip
        return {key: value for key, value in named.items() if value is not None and value is not False}


def cluster_of(cfg: DictConfig) -> Cluster:
    """The settings in a composed config, typed. Raises DigrapError naming a key that is unknown or out of range."""
    try:
        plain = OmegaConf.to_container(cfg.cluster, resolve=True)
        merged = OmegaConf.merge(OmegaConf.structured(Cluster), plain)
        cluster: Cluster = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "cluster"
        raise DigrapError(f"cluster.{key}: {first_line(error)}; configs/cluster/_base.yaml has all keys") from error
    for key in ("nodes", "gpus", "cpus", "mem_gb", "minutes", "warn_s", "parallel"):
        if (value := getattr(cluster, key)) is not None and value < 1:
            none = ", or null for none" if key in ("gpus", "mem_gb") else ""
            raise DigrapError(f"cluster.{key}={value}: give a whole number ≥ 1{none}")
    if taken := sorted(set(cluster.sbatch) & {"requeue", "signal", "open-mode", "array", "output"}):
        raise DigrapError(
            f"cluster.sbatch.{taken[0]}: the project sets it, so that runs resume after a preemption; leave it out"
        )
    return cluster


def sbatch_lines(options: dict[str, Any]) -> list[str]:
    """`#SBATCH --key=value` for each option, quoted as sbatch reads them."""
    return [
        f"#SBATCH --{key}" + ("" if value is True else f"={shlex.quote(str(value))}") for key, value in options.items()
    ]
