"""accelerate's device and precision for one run."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import InitProcessGroupKwargs
from omegaconf import DictConfig

from digrap.core.errors import DigrapError
from digrap.engine import ranks
from digrap.engine.sharding import check_sharding

# The first rank may do something alone for long (wait for another process's run, compare questions), for which the
# others wait in a collective. A rank that has ended is noticed at once, by the process that started it.
PATIENCE = datetime.timedelta(hours=24)


@contextlib.contextmanager
def open_accelerator(cfg: DictConfig) -> Iterator[Accelerator]:
    """An Accelerator on the config's device; its process-wide state is cleared afterwards, for the next job of a
    sweep."""
    kind = cfg.device.split(":")[0]
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, True):
        raise DigrapError(f"device={cfg.device}: not available on this machine; device=auto uses the best there is")
    check_sharding(cfg)
    ranks.join_slurm_step()
    ranks.check_devices(cfg.trainer.devices)
    _reset_accelerate()
    group = InitProcessGroupKwargs(timeout=PATIENCE)
    try:
        yield Accelerator(cpu=kind == "cpu", mixed_precision=cfg.trainer.precision, kwargs_handlers=[group])
    finally:
        _reset_accelerate()


def _reset_accelerate() -> None:
    AcceleratorState._reset_state()
    PartialState._reset_state()
    GradientState._reset_state()
