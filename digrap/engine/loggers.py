"""Further places for metrics beside metrics.jsonl: Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

Sink = Callable[[dict[str, Any]], None]


def sinks(cfg: DictConfig, folder: Path) -> tuple[Sink, ...]:
    """The sinks that cfg.logger asks for."""
    return (_wandb(cfg, folder),) if cfg.logger.name == "wandb" else ()


def _wandb(cfg: DictConfig, folder: Path) -> Sink:
    """Records as a Weights & Biases run; a resumed run continues under the same id."""
    import wandb

    tracked = wandb.init(
        project=cfg.logger.project, mode=cfg.logger.mode, dir=folder, id=folder.name, resume="allow",
        name=f"{cfg.optim.name}-{cfg.seed}", config=OmegaConf.to_container(cfg),
    )  # fmt: skip

    def sink(record: dict[str, Any]) -> None:
        values = {key: value for key, value in record.items() if key not in ("event", "step")}
        for name, numbers in values.pop("tensors", {}).items():
            values |= {f"{key}/{name}": number for key, number in numbers.items()}
        tracked.log({f"{record['event']}/{key}": value for key, value in values.items()}, step=record.get("step"))

    return sink
