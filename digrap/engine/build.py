"""From a config to the objects of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from digrap.core.errors import DigrapError
from digrap.data.splits import DataModule
from digrap.methods.method import Method
from digrap.methods.trained import CHOICES
from digrap.models.backbone import Backbone

NOT_THE_BUILDERS = ("name", "task", "select_by", "clip")  # keys of a dataset's config that others read


@contextlib.contextmanager
def worded(method: str) -> Iterator[None]:
    """What a method refuses (ValueError, TypeError), perhaps wrapped by Hydra, as a DigrapError that names it."""
    try:
        yield
    except InstantiationException as error:
        raise DigrapError(f"optim={method}: {error.__cause__ or error}") from error
    except (TypeError, ValueError) as error:
        raise DigrapError(f"optim={method}: {error}") from error


def _call(node: DictConfig, **extra: Any) -> Any:
    """Call a config node's `_target_` with the node's other keys."""
    arguments = OmegaConf.to_container(node, resolve=True)
    return get_method(arguments.pop("_target_"))(**arguments, **extra)


def build_data(cfg: DictConfig) -> DataModule:
    """The dataset's splits; reads nothing yet. Raises DigrapError where files are missing."""
    return _call(OmegaConf.masked_copy(cfg.dataset, [key for key in cfg.dataset if key not in NOT_THE_BUILDERS]))


def build_backbone(cfg: DictConfig, classes: tuple[str, ...]) -> Backbone:
    """The pre-trained model for these classes."""
    backbone = _call(cfg.backbone, num_classes=len(classes), classes=classes)
    if cfg.trainer.channels_last:
        backbone.module.to(memory_format=torch.channels_last)
        transform = backbone.batch_transform
        backbone.batch_transform = lambda batch: transform(batch).contiguous(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        if cfg.trainer.compile not in (known := torch.compiler.list_backends(exclude_tags=())):
            raise DigrapError(
                f"trainer.compile={cfg.trainer.compile}: choose a torch.compile backend: {', '.join(known)}"
            )
        backbone.module.compile(backend=cfg.trainer.compile)  # in place: parameters keep their names
    return backbone


def check_task(cfg: DictConfig) -> None:
    """Raise DigrapError for a dataset whose task no backbone has: before its files are asked for."""
    scripts = {"vqa": "show_dataset.py, check_leakage.py and score_vqa.py", "naming": "score_ovqa.py"}
    if (task := cfg.dataset.get("task", "classification")) != "classification":
        raise DigrapError(
            f"dataset={cfg.dataset.name}: no backbone answers questions yet (dataset.task={task}); in scripts/, "
            f"{scripts.get(task, 'the others')} work on it"
        )


def build_method(cfg: DictConfig) -> Method:
    """The method with its hooks. Raises DigrapError for a hyper-parameter that one of them refuses: before any data is
    read or any earlier phase is run."""
    optim = cfg.optim
    with worded(optim.name):
        parts = {
            key: instantiate(optim[key], _convert_="all") if optim[key] else None
            for key in ("optimizer", "after_step", "after_fit")
        }
        if parts["optimizer"]:
            parts["optimizer"]([{"params": [torch.zeros(1, requires_grad=True)]}])  # a trial
    if optim.trains not in (*CHOICES, None):
        raise DigrapError(f"optim.trains={optim.trains}: choose one of {', '.join(CHOICES)}, null")
    if bool(optim.trains) != bool(parts["optimizer"]) or (parts["after_step"] and not optim.trains):
        raise DigrapError(
            f"optim={optim.name}: optim.trains={optim.trains} with {'an' if parts['optimizer'] else 'no'} optimizer; "
            "what trains needs one, and nothing else has one or acts after its steps"
        )
    if optim.start and not (optim.trains or parts["after_fit"]):
        raise DigrapError(
            f"optim={optim.name}: optim.start={optim.start}: nothing trains or follows: take that run itself"
        )
    if isinstance(optim.holdout, bool) or not isinstance(optim.holdout, (int, float)) or not 0.0 <= optim.holdout < 1.0:
        raise DigrapError(f"optim.holdout={optim.holdout}: give a share of the training split, 0 ≤ holdout < 1")
    return Method(optim.name, trains=optim.trains, holdout=optim.holdout, **parts)
