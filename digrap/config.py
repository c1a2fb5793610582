"""Configs: composed by Hydra, checked against a schema, identified by a hash. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.errors import DigrapError
from digrap.files import sha256
from digrap.paths import CONFIGS, REPO

# Keys that say where or how a run is made, not what it is.
NOT_IDENTITY = (
    "hydra",
    "table",
    "dry_run",
    "cluster",
    "logger",
    "data_root",
    "device",
    "log_every",
    "best",
    "fresh",
    "wait",
)
# Options that came later: at their defaults they leave the hashes of older runs alone.
ADDED_TRAINER = {"channels_last": False, "compile": None}
NOT_IDENTITY_TRAINER = ("workers", "eval_batch_size", "checkpoint_minutes")


@dataclass
class Base:
    """The optimizer under every method."""

    name: str = MISSING
    lr: float = MISSING
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    nesterov: bool = False


@dataclass
class Trainer:
    """One recipe. Batches are counted in examples."""

    base: Base = field(default_factory=Base)
    epochs: int = MISSING
    batch_size: int = MISSING
    micro_batch: int = MISSING
    eval_batch_size: int = MISSING
    precision: str = "no"
    workers: int = 0
    threads: int = 1
    checkpoint_minutes: float = 5
    validate_every: int = 1
    channels_last: bool = False
    compile: str | None = None


@dataclass
class Train:
    """What train.py composes; the open parts belong to the room that reads them."""

    backbone: dict[str, Any] = MISSING
    peft: dict[str, Any] = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    schedule: dict[str, Any] = MISSING
    optim: dict[str, Any] = MISSING
    logger: dict[str, Any] = MISSING
    dataset: dict[str, Any] = MISSING
    best: Any = None
    seed: int = 0
    data_root: str = "data"
    device: str = "auto"
    log_every: int = 50
    fresh: bool = False
    wait: bool = False


def register_resolvers() -> None:
    """Make ${digrap.run_hash:}, ${digrap.repo:} and ${digrap.sha256:file} known to OmegaConf; calling it twice is
    harmless."""
    OmegaConf.register_new_resolver("digrap.run_hash", lambda *, _root_: run_hash(_root_), replace=True)
    OmegaConf.register_new_resolver("digrap.repo", lambda: str(REPO), replace=True)
    OmegaConf.register_new_resolver(
        "digrap.sha256",  # None for a file that is not there: whoever reads it words that better than OmegaConf
        lambda file: sha256(Path(file))[:12] if file and Path(file).is_file() else None,
        replace=True,
    )


def compose(overrides: list[str], config: str = "train") -> DictConfig:
    """The config that `python train.py <overrides>` would run, outside of Hydra's own main."""
    return typed(_hydra_composed(overrides, config))


def start_config(cfg: DictConfig) -> DictConfig | None:
    """The run that `cfg` goes on from; None where it starts from the backbone.

    It is `cfg` with what optim.start says merged in: {optim: lp, trainer: {base: {lr: 3e-3}}}; with {optim: {name: spd,
    strength: 1}} the earlier method gets options of its own. Raises DigrapError for what does not compose.
    """
    start = cfg.optim.start
    if not start:
        return None
    changes = {"optim": start} if isinstance(start, str) else start
    if isinstance(start, DictConfig):
        changes = OmegaConf.to_container(start)
    if not isinstance(changes, dict) or not changes.get("optim"):
        raise DigrapError(f"optim.start={start}: give the earlier method, as in optim.start={{optim: lp}}")
    try:
        chosen = changes.pop("optim")
        chosen = dict(chosen) if isinstance(chosen, dict) else {"name": chosen}
        chosen.setdefault("carve", cfg.optim.carve)  # what is held out from this run is held out from that one
        earlier = _hydra_composed([f"optim={chosen['name']}"], "train")  # its references to the trainer are kept
        plain = {**OmegaConf.to_container(cfg), "optim": OmegaConf.to_container(earlier.optim)}
        earlier = OmegaConf.create(plain, flags={"struct": True})
        return typed(OmegaConf.merge(earlier, {**changes, "optim": chosen}))
    except (HydraException, OmegaConfBaseException, KeyError) as error:
        raise DigrapError(f"optim.start={cfg.optim.start}: {str(error).splitlines()[0]}") from error


def _hydra_composed(overrides: list[str], config: str) -> DictConfig:
    register_resolvers()
    if GlobalHydra.instance().is_initialized():  # inside a job: Hydra holds one loader at a time
        GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra_compose(config, overrides=overrides)


def typed(cfg: DictConfig) -> DictConfig:
    """`cfg` as `Train`, resolved and with every value of the declared type. Raises DigrapError naming the bad key."""
    plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key not in ("hydra", "table", "dry_run")])
    try:
        plain = OmegaConf.create(OmegaConf.to_container(plain, resolve=True))
        result = OmegaConf.merge(OmegaConf.structured(Train), plain)
        check_ranges(result)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "config"
        raise DigrapError(f"{key}: {str(error).splitlines()[0]}") from error
    return result


def check_ranges(cfg: DictConfig) -> None:
    """Raise DigrapError for numbers no recipe can have."""
    trainer = cfg.trainer
    rules = {
        "trainer.base.name": (trainer.base.name in ("adamw", "sgd"), "adamw or sgd"),
        "trainer.base.lr": (trainer.base.lr >= 0, "a number ≥ 0"),
        "trainer.epochs": (trainer.epochs >= 1, "at least 1"),
        "trainer.batch_size": (trainer.batch_size >= 1, "at least 1"),
        "trainer.micro_batch": (trainer.micro_batch >= 1, "at least 1"),
        "trainer.eval_batch_size": (trainer.eval_batch_size >= 1, "at least 1"),
        "trainer.precision": (trainer.precision in ("no", "bf16", "fp16"), "no, bf16 or fp16"),
        "trainer.validate_every": (trainer.validate_every >= 1, "at least 1"),
        "trainer.checkpoint_minutes": (trainer.checkpoint_minutes >= 0, "a number ≥ 0"),
        "seed": (cfg.seed >= 0, "a whole number ≥ 0"),
        "log_every": (cfg.log_every >= 1, "at least 1"),
        "device": (cfg.device.split(":")[0] in ("auto", "cpu", "cuda", "mps"), "auto, cpu, cuda or mps"),
    }
    for key, (valid, wanted) in rules.items():
        if not valid:
            raise DigrapError(f"{key}={OmegaConf.select(cfg, key)} is out of range; give {wanted}")


def split_kinds(cfg: DictConfig) -> dict[str, str]:
    """Split → kind, as the dataset's config lists them: under `splits`, or by name under the kind (dataset=folder)."""
    kinds = {name: options["kind"] for name, options in cfg.dataset.splits.items()}
    for kind in ("near_ood", "far_ood"):
        names = cfg.dataset.get(kind) or ()
        kinds |= {str(name): kind for name in ([names] if isinstance(names, str) else names)}
    return kinds


def run_hash(cfg: DictConfig) -> str:
    """Ten hexadecimal digits that name what a run is. Where it is made (device, folders, logging) does not enter."""
    plain = OmegaConf.to_container(typed(cfg))
    for key in NOT_IDENTITY:
        plain.pop(key, None)
    for key in NOT_IDENTITY_TRAINER:
        plain["trainer"].pop(key, None)
    for key, default in ADDED_TRAINER.items():
        if plain["trainer"][key] == default:
            del plain["trainer"][key]
    if plain["optim"].get("sha256"):  # optim=file: the file's content says what it is, wherever it lies
        del plain["optim"]["file"], plain["optim"]["optimizer"]["file"]
    if plain["optim"]["start"]:  # what it goes on from is part of it, however it was said
        plain["optim"]["start"] = run_hash(start_config(cfg))
    elif not plain["optim"]["trains"]:  # nothing trains: one run serves every recipe
        plain.pop("schedule")
        plain["trainer"] = {key: plain["trainer"][key] for key in ("precision", "threads")}
    text = json.dumps(_canonical(plain, str(cfg.data_root)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


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
    return value
