"""The identity of a run: a hash of the part of its config that decides its results."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

from digrap.config import first_release
from digrap.config.compose import start_config
from digrap.config.first_release import put, take
from digrap.config.schema import CLASSIFICATION, Train, typed
from digrap.core.paths import places

# Keys that decide where or how a run is made, or that only check or score: they change nothing that is trained.
NOT_IDENTITY = (
    "hydra", "table", "published", "dry_run", "cluster", "logger", "data_root", "device", "log_every", "best", "fresh",
    "wait",
    "trainer.workers", "trainer.eval_batch_size", "trainer.checkpoint_minutes", "trainer.profile",
    "trainer.devices", "trainer.sharding", "trainer.keep_checkpoints",
    "trainer.wise_curve",  # optim.curve has it where it is used
    "dataset.strict", "dataset.check_pictures",
)  # fmt: skip

# Later options. At these values a run is what it was before they existed, and keeps its hash.
ADDED = {"trainer.channels_last": False, "trainer.compile": None, "trainer.layer_decay": 1.0,
         "trainer.vision_cache": False, "trainer.max_steps": None, "trainer.clip_grad": None,
         "trainer.label_smoothing": 0.0, "trainer.loss_on": "answer", "trainer.smoke": False,
         "dataset.on_broken": "error", "dataset.task": CLASSIFICATION, "backbone.tasks": [CLASSIFICATION],
         "backbone.release": 1, "dataset.holdout": None, "dataset.names": None,
         "peft.start": None, "peft.revision": None, "peft.base": None}  # fmt: skip


def run_hash(cfg: DictConfig) -> str:
    """Ten hexadecimal digits that identify a run, independent of where it is made (device, folders, logging)."""
    cfg = cfg if OmegaConf.get_type(cfg) is Train else typed(cfg)
    plain = OmegaConf.to_container(cfg)
    if "${" in str(plain):  # asking first takes half the time of resolving
        plain = OmegaConf.to_container(cfg, resolve=True)
    for key in NOT_IDENTITY:
        take(plain, key)
    if plain["dataset"].get("task", CLASSIFICATION) == CLASSIFICATION:
        take(plain, "trainer.decoding")  # decides answers in text alone
    for key, default in ADDED.items():
        if (found := take(plain, key, default)) != default:
            put(plain, key, found)
    for key, first in first_release.KEYS.items():
        if (found := take(plain, key)) is not None:
            put(plain, first, found)
    if plain["optim"].get("sha256"):  # optim=file: the digest of the content stands for the file
        del plain["optim"]["file"], plain["optim"]["optimizer"]["file"]
    if plain["optim"]["start"]:  # the hash of the run it is initialised from, in whatever form that was given
        plain["optim"]["start"] = run_hash(start_config(cfg))
    elif not plain["optim"]["trains"]:  # nothing trains: one run for all recipes
        plain.pop("schedule")
        deciding = ("precision", "threads", "decoding", "vision_cache", "smoke")
        plain["trainer"] = {key: plain["trainer"][key] for key in deciding if key in plain["trainer"]}
    folders = places(str(cfg.data_root), "<data>", "<repo>")
    text = json.dumps(_canonical(plain, folders), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _canonical(value: Any, folders: list[tuple[str, str]]) -> Any:
    """`value` with all numbers as floats (mu=1 is mu=1.0), paths by the names of the `folders` they lie in, and
    targets under their first names."""
    if isinstance(value, dict):
        return {key: _canonical(item, folders) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item, folders) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        for folder, name in folders:
            if value == folder or value.startswith(folder.rstrip("/") + "/"):
                return name + "/" + value[len(folder) :].lstrip("/")
        return first_release.TARGETS.get(value, value)
    return value
