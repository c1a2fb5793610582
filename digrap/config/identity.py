"""What identifies a run: a hash of the part of its config that decides its results."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

from digrap.config.compose import start_config
from digrap.config.schema import typed
from digrap.core.paths import REPO

# Where or how a run is made, and what only checks or scores: none of it changes what is trained.
NOT_IDENTITY = (
    "hydra", "table", "dry_run", "cluster", "logger", "data_root", "device", "log_every", "best", "fresh", "wait",
    "trainer.workers", "trainer.eval_batch_size", "trainer.checkpoint_minutes",
    "dataset.strict", "dataset.check_pictures",
)  # fmt: skip

# Later options. At these values a run is what it was before they existed, and keeps its hash.
ADDED = {"trainer.channels_last": False, "trainer.compile": None, "dataset.task": "classification",
         "backbone.tasks": ["classification"]}  # fmt: skip

# Keys and targets that were renamed enter the hash under the name that they had in the first release.
FIRST_KEYS = {"dataset.select_by": "dataset.metric", "optim.holdout": "optim.carve"}
FIRST_TARGETS = {
    "digrap.models.mini_resnet.mini_resnet": "digrap.models.resnet.mini_resnet",
    "digrap.models.open_clip_model.open_clip_backbone": "digrap.models.clip.clip_vit_b16",
}


def run_hash(cfg: DictConfig) -> str:
    """Ten hexadecimal digits that name what a run is. Where it is made (device, folders, logging) does not enter."""
    plain = OmegaConf.to_container(typed(cfg))
    for key in NOT_IDENTITY:
        _take(plain, key)
    for key, default in ADDED.items():
        if (found := _take(plain, key, default)) != default:
            _put(plain, key, found)
    for key, first in FIRST_KEYS.items():
        if (found := _take(plain, key)) is not None:
            _put(plain, first, found)
    if plain["optim"].get("sha256"):  # optim=file: the file's content says what it is, wherever it lies
        del plain["optim"]["file"], plain["optim"]["optimizer"]["file"]
    if plain["optim"]["start"]:  # the run it is initialised from is part of it, however it was given
        plain["optim"]["start"] = run_hash(start_config(cfg))
    elif not plain["optim"]["trains"]:  # nothing trains: one run serves every recipe
        plain.pop("schedule")
        plain["trainer"] = {key: plain["trainer"][key] for key in ("precision", "threads")}
    text = json.dumps(_canonical(plain, str(cfg.data_root)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _take(plain: dict[str, Any], key: str, default: Any = None) -> Any:
    """Remove the dotted `key` and return its value, or `default` where it is not there."""
    *groups, last = key.split(".")
    for group in groups:
        plain = plain.get(group) or {}
    return plain.pop(last, default)


def _put(plain: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        plain = plain[group]
    plain[last] = value


def _canonical(value: Any, data_root: str) -> Any:
    """mu=1 and mu=1.0 are one value; folders are written relative to the repository and the data root."""
    if isinstance(value, dict):
        return {key: _canonical(item, data_root) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item, data_root) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        for folder, name in ((data_root, "<data>"), (str(REPO), "<repo>")):
            if value == folder or value.startswith(folder.rstrip("/") + "/"):
                return name + "/" + value[len(folder) :].lstrip("/")
        return FIRST_TARGETS.get(value, value)
    return value
