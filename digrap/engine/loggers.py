"""Further places for metrics beside metrics.jsonl: Weights & Biases."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError

Sink = Callable[[dict[str, Any]], None]
log = logging.getLogger(__name__)


@contextlib.contextmanager
def sinks(cfg: DictConfig, folder: Path, wanted: bool = True) -> Iterator[tuple[Sink, ...]]:
    """The sinks that cfg.logger asks for, closed at the end, whatever ends the run; none where not `wanted`, as in all
    processes but the first."""
    if not wanted or cfg.logger.name != "wandb":
        yield ()
        return
    with _wandb(cfg, folder) as sink:
        yield (sink,)


@contextlib.contextmanager
def _wandb(cfg: DictConfig, folder: Path) -> Iterator[Sink]:
    """Records as one Weights & Biases run, failed where an error or an interruption ends it; a resumed run continues
    under the same id. Raises DigrapError where it cannot be begun."""
    import wandb

    try:
        # create_new: a process makes several runs, and wandb would otherwise go on with one that is not finished.
        tracked = wandb.init(
            project=cfg.logger.project, mode=cfg.logger.mode, dir=folder, id=tracked_id(cfg, folder), resume="allow",
            reinit="create_new", name=f"{cfg.optim.name}-{cfg.seed}", config=OmegaConf.to_container(cfg),
        )  # fmt: skip
    except wandb.Error as error:
        raise DigrapError(
            f"logger=wandb: the run could not be begun ({error}); log in with `wandb login`, or write it to disk with "
            "logger.mode=offline"
        ) from error

    def sink(record: dict[str, Any]) -> None:
        values = {key: value for key, value in record.items() if key not in ("event", "step")}
        for name, numbers in values.pop("tensors", {}).items():
            values |= {f"{key}/{name}": number for key, number in numbers.items()}
        tracked.log({f"{record['event']}/{key}": value for key, value in values.items()}, step=record.get("step"))

    failed = 1
    try:
        yield sink
        failed = 0
    finally:
        try:
            tracked.finish(exit_code=failed)
        except Exception as error:  # the run itself is whole, and metrics.jsonl has the same numbers
            log.warning("logger=wandb: %s was not finished (%s); `wandb sync` uploads it later", folder, error)


def tracked_id(cfg: DictConfig, folder: Path) -> str:
    """The id of a run at Weights & Biases: dataset and hash, and what else its folder is called (-fresh1)."""
    identity = run_hash(cfg)
    more = "" if folder.name == identity else "-" + folder.name.removeprefix(f"{identity}-")
    return re.sub(r"[^\w.-]", "-", f"{cfg.dataset.name}-{identity}{more}")[:128]
