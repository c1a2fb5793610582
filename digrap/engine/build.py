"""From a config to the objects of a run."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from digrap.data.splits import DataModule
from digrap.errors import DigrapError
from digrap.methods.method import Method
from digrap.models.backbone import Backbone


def _call(node: DictConfig, **extra: Any) -> Any:
    """Call a config node's `_target_` with the node's other keys."""
    arguments = OmegaConf.to_container(node, resolve=True)
    return get_method(arguments.pop("_target_"))(**arguments, **extra)


def build_data(cfg: DictConfig) -> DataModule:
    """The dataset's splits; reads nothing yet. Raises DigrapError where files are missing."""
    return _call(cfg.dataset)


def build_backbone(cfg: DictConfig, classes: tuple[str, ...]) -> Backbone:
    """The pre-trained model for these classes."""
    return _call(cfg.backbone, num_classes=len(classes))


def build_method(cfg: DictConfig) -> Method:
    """The method: its optimizer factory and phases. Raises DigrapError for a bad hyper-parameter type."""
    try:
        optimizer = instantiate(cfg.optim.optimizer, _convert_="all") if cfg.optim.optimizer else None
    except InstantiationException as error:
        raise DigrapError(f"optim={cfg.optim.name}: {error}") from error
    return Method(cfg.optim.name, optimizer, tuple(cfg.optim.phases))
