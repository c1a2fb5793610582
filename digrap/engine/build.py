"""From a config to the objects of a run."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer

from digrap.config.changes import changes
from digrap.config.choices import choices
from digrap.config.schema import CLASSIFICATION, DECODINGS, task_of
from digrap.core.errors import DigrapError, first_line, nearest
from digrap.core.paths import CONFIGS
from digrap.data.splits import DataModule
from digrap.engine.trained_state import base_of
from digrap.methods.from_file import find_class, from_file
from digrap.methods.method import Method
from digrap.methods.trained import CHOICES
from digrap.models.backbone import Backbone, Decoding
from digrap.models.qlora import check_installed
from digrap.optim.arguments import accepted, arguments_for
from digrap.runs.results_shape import KEYS
from digrap.tasks.task import Setting, Task, backbones_for, check_choice, find_weights, task_named


@contextlib.contextmanager
def method_errors(method: str) -> Iterator[None]:
    """Turn a method's ValueError or TypeError, perhaps wrapped by Hydra, into a DigrapError that names the method."""
    try:
        yield
    except InstantiationException as error:
        raise DigrapError(f"optim={method}: {' '.join(str(error.__cause__ or error).splitlines())}") from error
    except (TypeError, ValueError) as error:
        raise DigrapError(f"optim={method}: {error}") from error


log = logging.getLogger(__name__)
LAVIS = ("digrap.models.lavis.", "digrap.models.tiny_lavis.")  # builders that need salesforce-lavis
# Keys of a choice that say what it is.
DESCRIPTIVE = ("name", "task", "tasks", "select_by", "clip", "anchor", "answer_cue", "on_broken")


def takes(group: str, node: DictConfig, argument: str) -> bool:
    """Whether the `_target_` of a config group's choice has an argument of this name."""
    return argument in inspect.signature(_target(group, node)).parameters


def _target(group: str, node: DictConfig) -> Callable[..., Any]:
    name = node.get("_target_")
    try:
        return get_method(name)
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        reason = first_line(error)
        raise DigrapError(f"{group}._target_={name}: there is no such function ({reason})") from error


def call_choice(group: str, node: DictConfig, **extra: Any) -> Any:
    """Call the `_target_` of a config group's choice with its other keys. Raises DigrapError for a key that the target
    does not take."""
    arguments, target = OmegaConf.to_container(node, resolve=True), _target(group, node)
    arguments.pop("_target_", None)
    arguments = {key: value for key, value in arguments.items() if key not in DESCRIPTIVE}
    signature = inspect.signature(target)
    known = {key: value for key, value in signature.parameters.items() if key not in extra}
    title = f"{group}={node.get('name', node.get('_target_'))}"
    for key in arguments:
        if key not in known and not any(value.kind is value.VAR_KEYWORD for value in known.values()):
            raise DigrapError(f"{group}.{key}: {title} has no such option; {nearest(key, known)}")
    try:
        signature.bind(**arguments, **extra)
    except TypeError as error:
        raise DigrapError(f"{title}: {error}; give {group}.<option>=…") from error
    return target(**arguments, **extra)


def build_data(cfg: DictConfig) -> DataModule:
    """The dataset's splits; reads nothing yet. Raises DigrapError where files are missing."""
    return call_choice("dataset", cfg.dataset)


def build_backbone(cfg: DictConfig, classes: tuple[str, ...]) -> Backbone:
    """The pre-trained model for these classes, with the adapters that `cfg.peft` adds to it, and its decoding."""
    more = {"cache": in_data_root(cfg, "zero_shot")} if takes("backbone", cfg.backbone, "cache") else {}
    backbone = call_choice("backbone", cfg.backbone, num_classes=len(classes), classes=classes, **more)
    if backbone.answering is not None:
        name = cfg.trainer.decoding
        backbone.answering.decoding = Decoding(name, **DECODINGS[name])
    if cfg.trainer.loss_on == "all":
        if (use_whole_loss := getattr(backbone.answering, "use_whole_loss", None)) is None:
            raise DigrapError(
                f"trainer.loss_on=all: backbone={cfg.backbone.name} has no loss on a prompt; give "
                "trainer.loss_on=answer"
            )
        use_whole_loss()
    if cfg.peft.get("_target_"):
        backbone.provenance |= base_of(backbone)  # what a run stands on has no adapters
        backbone = call_choice("peft", cfg.peft, backbone=backbone)
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
    if taken := sorted(KEYS & backbone.remarks.keys()):
        raise DigrapError(
            f"backbone={cfg.backbone.name}: its remarks contain {', '.join(taken)}, a key that results.json has "
            "already; rename it where the backbone is built"
        )
    return backbone


def check_weights(cfg: DictConfig) -> None:
    """Raise the builder's own DigrapError where the file of weights that the config names is not there: minivqa makes
    its data when it is built. Backbones that classify need the data's classes and are built before any data is made.
    Raise one too where the user gives a file that random weights would leave unread."""
    named, pretrained = cfg.backbone.get("weights"), cfg.backbone.get("pretrained", True)
    there = bool(named) and Path(named).expanduser().is_file()
    if named and pretrained and not there and task_of(cfg) != CLASSIFICATION:
        call_choice("backbone", cfg.backbone, num_classes=0, classes=())
    if there and not pretrained and "backbone.weights" in (changes(OmegaConf.to_container(cfg, resolve=True)) or {}):
        raise DigrapError(
            f"backbone.weights={named}: backbone.pretrained=false uses random weights, so the file would be ignored; "
            "leave one of the two out"
        )


def ask_backbone(cfg: DictConfig, question: str) -> Any:
    """What a function of the backbone's module, whose parameters are options of the backbone, returns; None where the
    module has no function of that name."""
    _target("backbone", cfg.backbone)  # imports its module
    module = sys.modules.get(cfg.backbone._target_.rpartition(".")[0])
    if (function := getattr(module, question, None)) is None:
        return None
    given = OmegaConf.to_container(cfg.backbone, resolve=True)
    return function(**{key: given[key] for key in inspect.signature(function).parameters if key in given})


def check_packages(cfg: DictConfig) -> None:
    """Raise DigrapError where the config needs an optional package that is not installed: before any file is read."""
    if cfg.peft.get("name") == "qlora":
        check_installed()
    if str(cfg.backbone.get("_target_")).startswith(LAVIS):
        from digrap.models import lavis  # transformers takes a second to import

        lavis.check_installed(cfg.backbone.name)


def build_task(cfg: DictConfig, backbone: Backbone, classes: tuple[str, ...], device: Any = "cpu") -> Task:
    """The dataset's task for a backbone; what it scores with is on the device."""
    return task_named(task_of(cfg), backbone, classes, _select_by(cfg), _setting(cfg, device))


def find_task_weights(cfg: DictConfig) -> None:
    """Raise DigrapError where the task's scores need weights that cannot be found or fetched."""
    find_weights(task_of(cfg), _setting(cfg))


def _select_by(cfg: DictConfig) -> str:
    return cfg.dataset.get("select_by", "accuracy")


def _setting(cfg: DictConfig, device: Any = "cpu") -> Setting:
    clip = cfg.dataset.get("clip")
    clip = OmegaConf.to_container(clip) if OmegaConf.is_config(clip) else clip
    return Setting(clip, str(device), in_data_root(cfg, "clip_match"), cfg.trainer.label_smoothing)


def keep_features(cfg: DictConfig, backbone: Backbone, changing: Iterable[str]) -> None:
    """With trainer.vision_cache, keep features of pictures on disk; see `digrap.models.vision_cache`."""
    if cfg.trainer.vision_cache:
        from digrap.models.vision_cache import use_vision_cache  # transformers takes a second to import

        use_vision_cache(backbone, changing, in_data_root(cfg, "vision_cache"))


def in_data_root(cfg: DictConfig, name: str) -> Path:
    """A folder beside the data."""
    return Path(cfg.data_root).expanduser() / name


def check_task(cfg: DictConfig) -> None:
    """Raise DigrapError for a backbone that is not made for the dataset's task, and a score that the task does not
    have: before any file is asked for."""
    task, made_for = task_of(cfg), _made_for(cfg.backbone)
    if (wanted := backbones_for(task)) not in made_for:
        configs = {name: OmegaConf.load(CONFIGS / "backbone" / f"{name}.yaml") for name in choices("backbones")}
        others = [name for name, config in configs.items() if wanted in _made_for(config)]
        raise DigrapError(
            f"dataset={cfg.dataset.name}: its task is {task}, but backbone={cfg.backbone.name} is made for "
            f"{', '.join(made_for)}; backbones for {task}: {', '.join(others) or 'none yet'}. Without a model, "
            "show_dataset.py, check_leakage.py and the score scripts in scripts/ work on it"
        )
    check_choice(task, _select_by(cfg), _setting(cfg))


def _made_for(backbone: DictConfig) -> list[str]:
    """The tasks that a backbone's config names; classification where it names none."""
    return list(backbone.get("tasks", [CLASSIFICATION]))


def build_method(cfg: DictConfig) -> Method:
    """The method with its hooks. Raises DigrapError for a hyper-parameter that one of them refuses: before any data is
    read or any earlier phase is run."""
    optim, name = cfg.optim, cfg.optim.get("name")
    if not name:
        raise DigrapError("optim: its yaml has no name; add `name: …`, that of the file")
    with method_errors(name):
        parts = {
            key: instantiate(optim[key], _convert_="all") if optim[key] else None
            for key in ("optimizer", "after_step", "after_fit")
        }
        if parts["optimizer"]:
            parts["optimizer"] = _with_what_it_takes(cfg, parts["optimizer"])
            trial = _tried(parts["optimizer"])
            name = type(trial).__name__ if parts["optimizer"].func is from_file else name
    if optim.trains not in (*CHOICES, None):
        raise DigrapError(f"optim.trains={optim.trains}: choose one of {', '.join(CHOICES)}, null")
    if bool(optim.trains) != bool(parts["optimizer"]) or (parts["after_step"] and not optim.trains):
        raise DigrapError(
            f"optim={optim.name}: optim.trains={optim.trains} with {'an' if parts['optimizer'] else 'no'} optimizer; "
            "training needs an optimizer, and without training there is neither an optimizer nor after_step"
        )
    if optim.start and not (optim.trains or parts["after_fit"]):
        raise DigrapError(
            f"optim={optim.name}: optim.start={optim.start}: nothing is trained or computed from that run: use it "
            "directly"
        )
    if isinstance(optim.holdout, bool) or not isinstance(optim.holdout, (int, float)) or not 0.0 <= optim.holdout < 1.0:
        raise DigrapError(f"optim.holdout={optim.holdout}: give a fraction of the training split, 0 ≤ holdout < 1")
    return Method(name, trains=optim.trains, holdout=optim.holdout, **parts)


def _with_what_it_takes(cfg: DictConfig, optimizer: Any) -> functools.partial:
    """The optimizer's factory without those common arguments (configs/optim/_base.yaml) that it does not take.

    Raises ValueError for another argument that it does not take, for one of these with a value of its own, and where
    the config names no factory.
    """
    if not isinstance(optimizer, functools.partial):
        raise ValueError("its yaml lacks `_target_` (a torch optimizer) under `optimizer:`, or `defaults: [_base]`")
    every = OmegaConf.load(CONFIGS / "optim" / "_base.yaml").optimizer
    resolved = OmegaConf.create({"trainer": cfg.trainer, "peft": cfg.peft, "every": every}).every
    values, given = OmegaConf.to_container(resolved, resolve=True), optimizer.keywords
    common = {key: value for key, value in given.items() if key in values and value == values[key]}
    own = {key: value for key, value in given.items() if key not in common}
    found = arguments_for(optimizer.func, common, own, "optim.optimizer")
    make, taken = optimizer.func, found.keys()
    if make is from_file:  # which takes everything, for its class
        make = find_class(given["file"], given["cls"])
        taken = common.keys() if (names := accepted(make)) is None else names
    if left := sorted(common.keys() - taken):
        log.info("optim=%s: %s takes no %s: left out", cfg.optim.name, make.__qualname__, ", ".join(left))
    return functools.partial(optimizer.func, **found)


def _tried(optimizer: functools.partial) -> Optimizer:
    """The optimizer of one parameter. Raises DigrapError where a class from elsewhere refuses its arguments, and for
    one that the loop cannot step."""
    params = [{"params": [torch.zeros(1, requires_grad=True)]}]
    try:
        trial = optimizer(params)
    except Exception as error:  # a class from elsewhere may raise anything
        if isinstance(error, DigrapError) or optimizer.func.__module__.startswith("digrap."):
            raise
        given = ", ".join(f"{key}={value}" for key, value in optimizer.keywords.items())
        raise DigrapError(
            f"optim: {optimizer.func.__qualname__}({given}) raises {type(error).__name__}: {error}; give a value that "
            "it takes under `optimizer:` in its yaml, or as optim.optimizer.<argument>=…"
        ) from error
    closure = inspect.signature(type(trial).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise DigrapError(
            f"optim: a step of {type(trial).__name__} needs a closure, which the training loop does not have; use "
            "another optimizer"
        )
    return trial
