"""The data of a run: its picture files are checked before it begins; a smoke run takes only a few examples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from omegaconf import DictConfig
from torch.utils.data import Dataset

from digrap.config.schema import CLASSIFICATION, SMOKE_STEPS, task_of
from digrap.core.errors import DigrapError
from digrap.data.checked import with_checked_pictures
from digrap.data.splits import DataModule, Part, Split
from digrap.engine.build import in_data_root
from digrap.engine.loaders import check_batch
from digrap.models.backbone import Backbone

MINIATURE = "digrap.models.mini_resnet."  # a builder that takes tensors of the miniature alone
EXAMPLES = 32  # of each split in a smoke run
CAVEAT = "smoke run: a few steps on a few examples, only to check that everything works; ignore the scores"


def has_picture_files(cfg: DictConfig) -> bool:
    """Whether the dataset's pictures are files; those of the miniatures are drawn."""
    return cfg.dataset.get("on_broken") is not None


def checked(data: DataModule, cfg: DictConfig, names: Iterable[str]) -> DataModule:
    """`data` with the picture files of the named splits looked at, where the dataset has dataset.on_broken. Raises
    DigrapError naming broken ones, unless dataset.on_broken=skip leaves them out."""
    if not has_picture_files(cfg) or cfg.dataset.get("check_pictures") is False:
        return data
    return with_checked_pictures(data, names, cfg.dataset.on_broken == "skip", in_data_root(cfg, "picture_headers"))


def check_takes_pictures(cfg: DictConfig) -> None:
    """Raise DigrapError where the config alone says what `check_pictures_fit` refuses: before anything is read."""
    takes_tensors = str(cfg.backbone.get("_target_")).startswith(MINIATURE)
    if takes_tensors and has_picture_files(cfg) and task_of(cfg) == CLASSIFICATION:
        raise _no_pictures(cfg)


def check_pictures_fit(backbone: Backbone, cfg: DictConfig, data: DataModule) -> None:
    """Raise DigrapError where a classifier only takes tensors of one size, but `data` has picture files."""
    if data.pictures and task_of(cfg) == CLASSIFICATION and backbone.eval_transform is None:
        raise _no_pictures(cfg)


def _no_pictures(cfg: DictConfig) -> DigrapError:
    return DigrapError(
        f"backbone={cfg.backbone.name} only takes the miniature's pictures, and its shipped weights are for the "
        f"miniature's 45 classes, but dataset={cfg.dataset.name} has picture files; use backbone=timm "
        "backbone.model=…, or another (--list backbones; docs/own_data.md)"
    )


def check_own_data(data: DataModule, cfg: DictConfig, held_out: float) -> DataModule:
    """`data`, its training split listed: of a user's own data, which may be a handful, raise DigrapError where no batch
    can be made of it. That is said before a model is read, which takes longer than such a list."""
    if cfg.trainer.smoke or "near_ood" not in cfg.dataset:
        return data
    (train,) = (split.kept for split in data.of_kind("id_train"))
    count = len(train.load())
    check_batch(cfg.trainer.batch_size, count - round(held_out * count))
    return replace(data, splits={**data.splits, train.name: train})


def shortened(data: DataModule, cfg: DictConfig) -> DataModule:
    """With trainer.smoke a few examples of every split: two steps an epoch to train on, a batch or so to test."""
    if not cfg.trainer.smoke:
        return data
    trained = math.ceil(SMOKE_STEPS * cfg.trainer.batch_size / (1 - cfg.optim.holdout)) + 1
    splits = {
        name: _spread(split, trained if split.kind == "id_train" else EXAMPLES) for name, split in data.splits.items()
    }
    return replace(data, splits=splits, caveats=(*data.caveats, CAVEAT))


def _spread(split: Split, count: int) -> Split:
    """The split with `count` of its examples, evenly over their order; all of them where it has no more."""

    def load() -> Dataset:
        whole = split.load()
        places = [place * len(whole) // count for place in range(count)]
        return whole if len(whole) <= count else Part(whole, places)

    return replace(split, load=load).kept
