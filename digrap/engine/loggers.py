"""Places for metrics in addition to metrics.jsonl: Weights & Biases, TensorBoard. None of them ends or delays a run:
one that fails is dropped with a warning, as metrics.jsonl has the same numbers."""

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
from digrap.core.network import answers

Sink = Callable[[dict[str, Any]], None]
BEGIN_SECONDS = 20  # that a server may take to take up a run
FINISH_SECONDS = 60  # that the last records may take; scripts/sync.py uploads what is left
LATER = "it is written to disk; python scripts/sync.py uploads it"
log = logging.getLogger(__name__)


@contextlib.contextmanager
def sinks(cfg: DictConfig, folder: Path, wanted: bool = True) -> Iterator[tuple[Sink, ...]]:
    """The sinks that cfg.logger asks for, closed at the end, whatever ends the run; none where not `wanted`, as in all
    processes but the first."""
    make = {"wandb": _wandb, "tensorboard": _tensorboard}.get(cfg.logger.name)
    if not wanted or make is None:
        yield ()
        return
    with make(cfg, folder) as sink:
        yield (_given_up_on_error(sink, cfg.logger.name),)


def numbers(record: dict[str, Any]) -> dict[str, Any]:
    """The values of a record of metrics.jsonl by one name each: {"val/accuracy": 80.0, "layers/norm/fc.bias": 0.1}."""
    values = {key: value for key, value in record.items() if key not in ("event", "step")}
    for name, tensor in values.pop("tensors", {}).items():
        values |= {f"{key}/{name}": number for key, number in tensor.items()}
    return {f"{record['event']}/{key}": value for key, value in values.items()}


def _given_up_on_error(sink: Sink, name: str) -> Sink:
    failed = False

    def lenient(record: dict[str, Any]) -> None:
        nonlocal failed
        if failed:
            return
        try:
            sink(record)
        except Exception as error:
            failed = True
            log.warning(
                "logger=%s: nothing more is written there (%s); metrics.jsonl still has everything", name, error
            )

    return lenient


@contextlib.contextmanager
def _tensorboard(cfg: DictConfig, folder: Path) -> Iterator[Sink]:
    """Scalars for TensorBoard in `folder`/tensorboard. A resumed run hides what it writes again."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DigrapError(
            f"logger=tensorboard needs the package tensorboard ({error}): `python -m pip install tensorboard`, or "
            "leave logger out"
        ) from error

    writer = None

    def sink(record: dict[str, Any]) -> None:
        nonlocal writer
        if writer is None:
            writer = SummaryWriter(str(folder / "tensorboard"), purge_step=record.get("step"))
        for name, value in numbers(record).items():
            if isinstance(value, (int, float)):
                writer.add_scalar(name, value, record.get("step"))

    try:
        yield sink
    finally:
        try:
            if writer is not None:
                writer.close()
        except Exception as error:
            log.warning("logger=tensorboard: %s was not finished (%s)", folder / "tensorboard", error)


@contextlib.contextmanager
def _wandb(cfg: DictConfig, folder: Path) -> Iterator[Sink]:
    """Records as one Weights & Biases run, failed where an error or an interruption ends it; a resumed run continues
    under the same id. Where its server does not answer, the run is written to disk. Raises DigrapError where it cannot
    be begun for another reason."""
    import wandb

    tracked = _begin(wandb, cfg, folder)

    def sink(record: dict[str, Any]) -> None:
        tracked.log(numbers(record), step=record.get("step"))

    failed = 1
    try:
        yield sink
        failed = 0
    finally:
        try:
            tracked.finish(exit_code=failed)
        except Exception as error:  # the run itself is whole, and metrics.jsonl has the same numbers
            log.warning("logger=wandb: %s was not finished (%s); %s", folder, error, LATER)


def _begin(wandb: Any, cfg: DictConfig, folder: Path) -> Any:
    """The run at Weights & Biases; offline where its server is asked for and does not answer."""
    settings = wandb.Settings(init_timeout=BEGIN_SECONDS, finish_timeout=FINISH_SECONDS)

    def begin(mode: str) -> Any:
        # create_new: a process makes several runs, and wandb would otherwise go on with one that is not finished.
        return wandb.init(
            project=cfg.logger.project, mode=mode, dir=folder, id=tracked_id(cfg, folder), resume="allow",
            reinit="create_new", name=f"{cfg.optim.name}-{cfg.seed}", config=OmegaConf.to_container(cfg),
            settings=settings,
        )  # fmt: skip

    mode = cfg.logger.mode
    try:
        if mode == "online" and not answers(server := wandb.setup().settings.base_url):
            log.warning("logger=wandb: %s does not answer, so the run is not sent: %s", server, LATER)
            mode = "offline"
        try:
            return begin(mode)
        except wandb.errors.CommError as error:
            if mode != "online" or isinstance(error, wandb.errors.AuthenticationError):
                raise
            log.warning("logger=wandb: the run could not be started there (%s): %s", error, LATER)
            wandb.teardown()  # else the id is in use
            return begin("offline")
    except wandb.Error as error:
        raise DigrapError(
            f"logger=wandb: the run could not be started ({error}); log in with `wandb login`, or write it to disk "
            "with logger.mode=offline"
        ) from error


def tracked_id(cfg: DictConfig, folder: Path) -> str:
    """The id of a run at Weights & Biases: dataset and hash, and what else its folder is called (-fresh1)."""
    identity = run_hash(cfg)
    more = "" if folder.name == identity else "-" + folder.name.removeprefix(f"{identity}-")
    return re.sub(r"[^\w.-]", "-", f"{cfg.dataset.name}-{identity}{more}")[:128]
