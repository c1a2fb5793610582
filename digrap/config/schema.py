"""The typed schema of a run's config, and the valid ranges of its values."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from omegaconf import MISSING, BooleanNode, DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from digrap.core.errors import DigrapError, first_line, nearest
from digrap.core.paths import DATA

# The booleans of groups without types. `pretrained` may also be a name of weights.
FLAGS = (
    "backbone.pretrained", "backbone.chat", "backbone.gradient_checkpointing", "backbone.distill", "dataset.strict",
    "dataset.check_pictures", "dataset.undo_rotation", "peft.double_quant",
)  # fmt: skip

CLASSIFICATION = "classification"
ON_BROKEN = ("error", "skip")
SMOKE_EPOCHS = SMOKE_STEPS = 2  # of trainer.smoke, and steps of an epoch

# How an answer is searched: `beams` (1: greedily) and at most `max_new_tokens` tokens of it. card: the paper's recipe;
# authors: what the authors' code does.
DECODINGS = {
    "card": {"beams": 5, "max_new_tokens": 10},
    "authors": {"beams": 1, "max_new_tokens": 100},
    "greedy": {"beams": 1, "max_new_tokens": 10},
}


@dataclass
class Base:
    """The base optimizer of every method."""

    name: str = MISSING
    lr: float = MISSING
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    nesterov: bool = False


@dataclass
class Trainer:
    """The training recipe. Batch sizes are in examples."""

    base: Base = field(default_factory=Base)
    epochs: int = MISSING
    batch_size: int = MISSING
    micro_batch: int = MISSING
    eval_batch_size: int = MISSING
    decoding: str = "greedy"
    loss_on: str = "answer"
    precision: str = "no"
    workers: int = 0
    threads: int = 1
    checkpoint_minutes: float = 5
    validate_every: int = 1
    channels_last: bool = False
    compile: str | None = None
    profile: bool = False
    layer_decay: float = 1.0
    vision_cache: bool = False
    devices: int = 1
    sharding: str = "none"
    max_steps: int | None = None
    clip_grad: float | None = None
    label_smoothing: float = 0.0
    keep_checkpoints: bool = False
    smoke: bool = False
    wise_curve: list[float] = field(default_factory=lambda: [k / 10 for k in range(11)])


@dataclass
class Train:
    """The config of train.py; groups typed as dict are validated by the code that reads them."""

    backbone: dict[str, Any] = MISSING
    peft: dict[str, Any] = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    schedule: dict[str, Any] = MISSING
    optim: dict[str, Any] = MISSING
    logger: dict[str, Any] = MISSING
    dataset: dict[str, Any] = MISSING
    best: Any = None
    seed: int = 0
    data_root: str = str(DATA)
    device: str = "auto"
    log_every: int = 50
    fresh: bool = False
    wait: bool = False


NO_PART_OF_A_RUN = ("hydra", "table", "published", "dry_run", "cluster", "outputs")


def typed(cfg: DictConfig) -> DictConfig:
    """`cfg` as `Train`, resolved and with every value of the declared type. Raises DigrapError naming the bad key."""
    with _naming_keys():
        return resolved(with_types(cfg))


def with_types(cfg: DictConfig) -> DictConfig:
    """`cfg` as `Train`, its references as they are: types come before them, so that what refers to `seed` gets the
    number, however it was written. Raises OmegaConf's errors."""
    plain = {key: value for key, value in OmegaConf.to_container(cfg).items() if key not in NO_PART_OF_A_RUN}
    return OmegaConf.unsafe_merge(pickle.loads(_defaults()), plain)  # both are copies


@cache
def _defaults() -> bytes:
    return pickle.dumps(OmegaConf.structured(Train))  # reading it takes a fifth of making it


def resolved(cfg: DictConfig) -> DictConfig:
    """The config `with_types`, its references resolved in place and its ranges checked. Raises OmegaConf's errors, and
    DigrapError for a value out of range."""
    OmegaConf.resolve(cfg)
    return finished(cfg)


def finished(cfg: DictConfig) -> DictConfig:
    """The config, its references resolved before, with typed booleans and checked ranges."""
    _type_flags(cfg)
    if cfg.trainer.smoke:
        cfg.trainer.epochs, cfg.trainer.validate_every = min(cfg.trainer.epochs, SMOKE_EPOCHS), 1
    check_ranges(cfg)
    return cfg


@contextlib.contextmanager
def _naming_keys() -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "config"
        if isinstance(error, (ConfigKeyError, ConfigAttributeError)) and is_dataclass(error.object_type):
            known = [one.name for one in fields(error.object_type)]
            raise DigrapError(f"{key}: there is no such option; {nearest(str(error.key), known)}") from error
        raise DigrapError(f"{key}: {first_line(error)}") from error


def _type_flags(cfg: DictConfig) -> None:
    """Make booleans of the words and numbers that mean one; anything else is left to the code that reads it."""
    for key in FLAGS:
        value = OmegaConf.select(cfg, key)
        with contextlib.suppress(ValidationError):
            if value is not None and not isinstance(value, bool):
                OmegaConf.update(cfg, key, BooleanNode(value)._value())


def check_ranges(cfg: DictConfig) -> None:
    """Raise DigrapError, naming the key and the valid range, for a value out of range."""
    trainer = cfg.trainer
    rules = {
        "trainer.base.name": (trainer.base.name in ("adamw", "sgd"), "adamw or sgd"),
        "trainer.base.lr": (trainer.base.lr >= 0, "a number ≥ 0"),
        "trainer.epochs": (trainer.epochs >= 1, "at least 1"),
        "trainer.batch_size": (trainer.batch_size >= 1, "at least 1"),
        "trainer.micro_batch": (trainer.micro_batch >= 1, "at least 1"),
        "trainer.eval_batch_size": (trainer.eval_batch_size >= 1, "at least 1"),
        "trainer.decoding": (trainer.decoding in DECODINGS, "one of " + ", ".join(DECODINGS)),
        "trainer.loss_on": (trainer.loss_on in ("answer", "all"), "answer or all"),
        "trainer.precision": (trainer.precision in ("no", "bf16", "fp16"), "no, bf16 or fp16"),
        "trainer.devices": (trainer.devices >= 1, "at least 1"),
        "trainer.sharding": (trainer.sharding in ("none", "full"), "none or full"),
        "trainer.layer_decay": (0 < trainer.layer_decay <= 1, "a number, 0 < layer_decay ≤ 1"),
        "trainer.validate_every": (trainer.validate_every >= 1, "at least 1"),
        "trainer.checkpoint_minutes": (trainer.checkpoint_minutes >= 0, "a number ≥ 0"),
        "trainer.max_steps": (trainer.max_steps is None or trainer.max_steps >= 1, "at least 1, or null"),
        "trainer.clip_grad": (trainer.clip_grad is None or trainer.clip_grad > 0, "a number > 0, or null"),
        "trainer.label_smoothing": (0 <= trainer.label_smoothing < 1, "a number, 0 ≤ label_smoothing < 1"),
        "dataset.on_broken": (cfg.dataset.get("on_broken", "error") in ON_BROKEN, " or ".join(ON_BROKEN)),
        "seed": (cfg.seed >= 0, "a whole number ≥ 0"),
        "log_every": (cfg.log_every >= 1, "at least 1"),
        "device": (cfg.device.split(":")[0] in ("auto", "cpu", "cuda", "mps"), "auto, cpu, cuda or mps"),
    }
    for key, (valid, wanted) in rules.items():
        if not valid:
            raise DigrapError(f"{key}={OmegaConf.select(cfg, key)} is out of range; give {wanted}")


def task_of(cfg: DictConfig) -> str:
    """The dataset's task. Configs of the first release named none: they are classification."""
    return cfg.dataset.get("task", CLASSIFICATION)


def split_kinds(cfg: DictConfig) -> dict[str, str]:
    """{split: kind} from the dataset's config, which lists them under `splits`, or by name under the kind
    (dataset=folder)."""
    kinds = {name: options["kind"] for name, options in cfg.dataset.splits.items()}
    for kind in ("near_ood", "far_ood"):
        names = cfg.dataset.get(kind) or ()
        kinds |= {str(name): kind for name in ([names] if isinstance(names, str) else names)}
    return kinds
