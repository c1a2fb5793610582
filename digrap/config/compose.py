"""Composition of configs outside of Hydra's main, and the config of the run that another run is initialised from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.schema import typed
from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.core.paths import CONFIGS, REPO


def register_resolvers() -> None:
    """Register ${digrap.run_hash:}, ${digrap.repo:} and ${digrap.sha256:file} with OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("digrap.run_hash", _run_hash, replace=True)
    OmegaConf.register_new_resolver("digrap.repo", lambda: str(REPO), replace=True)
    OmegaConf.register_new_resolver(
        "digrap.sha256",  # None for a missing file: the code that reads it has the better message
        lambda file: sha256(Path(file))[:12] if file and Path(file).is_file() else None,
        replace=True,
    )


def _run_hash(*, _root_: DictConfig) -> str:
    from digrap.config.identity import run_hash  # imported here: identity imports this module

    return run_hash(_root_)


def compose(overrides: list[str], config: str = "train") -> DictConfig:
    """The config that `python train.py <overrides>` would run, outside of Hydra's own main."""
    return typed(_hydra_composed(overrides, config))


def compose_with(overrides: tuple[str, ...], values: Mapping[str, Any]) -> DictConfig:
    """The config of the overrides with plain keys set to values besides: composed once for any number of values."""
    return typed(_with(overrides, values))


def hash_with(overrides: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """The hash of the run with that config."""
    return _run_hash(_root_=_with(overrides, values))


def _with(overrides: tuple[str, ...], values: Mapping[str, Any]) -> DictConfig:
    cfg = copy.deepcopy(_composed_once(overrides))
    for key, value in values.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


@cache
def _composed_once(overrides: tuple[str, ...]) -> DictConfig:
    return _hydra_composed(list(overrides), "train")


def start_config(cfg: DictConfig) -> DictConfig | None:
    """The config of the run whose weights `cfg` is initialised from; None if it is initialised from the backbone.

    It is `cfg` with optim.start merged into it: {optim: lp, trainer: {base: {lr: 3e-3}}}. With {optim: {name: spd,
    strength: 1}} the earlier method gets options of its own. Raises DigrapError if that does not compose.
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
        chosen.setdefault(
            "holdout", cfg.optim.holdout
        )  # examples held out from this run are held out from the earlier one too
        plain = {**OmegaConf.to_container(cfg), "optim": _options(str(chosen["name"]))}
        earlier = OmegaConf.create(plain, flags={"struct": True})
        return typed(OmegaConf.merge(earlier, {**changes, "optim": chosen}))
    except (HydraException, OmegaConfBaseException, KeyError) as error:
        raise DigrapError(f"optim.start={cfg.optim.start}: {str(error).splitlines()[0]}") from error


@cache  # it takes as long as composing a run, and every hash of a run with a start needs it
def _options(optim: str) -> dict:
    """The options of a method, with its references to the trainer; the caller changes a copy."""
    return OmegaConf.to_container(_hydra_composed([f"optim={optim}"], "train").optim)


def _hydra_composed(overrides: list[str], config: str) -> DictConfig:
    register_resolvers()
    if GlobalHydra.instance().is_initialized():  # inside a job: Hydra allows one config loader at a time
        GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra_compose(config, overrides=overrides)
