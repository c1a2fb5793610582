"""What runs need beyond their configs, checked before any of them begins: packages, data, weights, adapters."""

from __future__ import annotations

import json
from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf

from digrap.core.errors import DigrapError
from digrap.data.splits import DataModule
from digrap.engine.build import (
    ask_backbone,
    build_data,
    check_packages,
    check_task,
    check_weights,
    find_task_weights,
)
from digrap.engine.run_data import check_takes_pictures, has_picture_files

Check = tuple[Callable[[DictConfig], object], tuple[str, ...]]


def data_of(cfg: DictConfig) -> DataModule:
    """The dataset's splits. Raises DigrapError where files are missing, which also says whether the backbone's weights
    will have to be fetched."""
    try:
        return build_data(cfg)
    except DigrapError as error:
        if weights := ask_backbone(cfg, "weights_to_fetch"):
            raise DigrapError(f"{error}. {weights}") from error
        raise


def find_data(cfg: DictConfig) -> None:
    """Raise DigrapError where the dataset's files are missing. Data that the project draws itself are drawn by the
    runs, each on its own core."""
    if has_picture_files(cfg):
        build_data(cfg)


def find_data_and_say_weights(cfg: DictConfig) -> None:
    """As `find_data`, in the words of `data_of`."""
    if has_picture_files(cfg):
        data_of(cfg)


def find_backbone_weights(cfg: DictConfig) -> None:
    """Find or fetch the backbone's weights, where its module has a `find_weights`. Raises DigrapError where they cannot
    be had: before anything that takes longer."""
    ask_backbone(cfg, "find_weights")


def find_start_adapters(cfg: DictConfig) -> None:
    """Raise DigrapError where the adapters that peft.start names are not found; fetched where need be."""
    if (start := cfg.peft.get("start")) is not None:
        from digrap.models.hub_model import find_adapters  # runs without any need no client of the hub

        find_adapters(str(start), cfg.peft.get("revision"))


# In the order of a run (engine/run.py, Job.build), with the config groups that each reads.
EVERYWHERE: tuple[Check, ...] = (
    (check_task, ("dataset", "backbone", "trainer")),
    (check_takes_pictures, ("dataset", "backbone")),
)
PACKAGES: tuple[Check, ...] = ((check_packages, ("backbone", "peft")), (check_weights, ("dataset", "backbone")))
DATA: tuple[Check, ...] = ((find_data_and_say_weights, ("dataset", "backbone")),)
DATA_ALONE: tuple[Check, ...] = ((find_data, ("dataset",)),)
CACHES: tuple[Check, ...] = (
    (find_task_weights, ("dataset",)),
    (find_backbone_weights, ("backbone",)),
    (find_start_adapters, ("peft",)),
)


class Preflight:
    """Says why a run cannot begin, in the words that it would end with itself; runs that need the same share one look,
    and one request to the hub.

    `elsewhere`: the runs are made on other machines, which see the same data, but may have packages and a cache of
    weights of their own.
    """

    def __init__(self, elsewhere: bool = False):
        self.checks = (*EVERYWHERE, *DATA_ALONE) if elsewhere else (*EVERYWHERE, *PACKAGES, *DATA, *CACHES)
        self._found: dict[tuple[str, str], DigrapError | None] = {}

    def lacking(self, cfg: DictConfig) -> DigrapError | None:
        """The first thing that the run needs and lacks; None where nothing is missing. Weights may be fetched."""
        for check, groups in self.checks:
            read = [OmegaConf.to_container(cfg[group], resolve=True) for group in groups]
            key = check.__name__, json.dumps(read, sort_keys=True, default=str)
            if key not in self._found:
                self._found[key] = _error_of(check, cfg)
            if (error := self._found[key]) is not None:
                return error
        return None


def _error_of(check: Callable[[DictConfig], object], cfg: DictConfig) -> DigrapError | None:
    try:
        check(cfg)
    except DigrapError as error:
        return error
    return None
