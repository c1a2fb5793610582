"""Composition of configs outside of Hydra's main, and the config of the run that another run is initialised from."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.cluster import Cluster, cluster_of
from digrap.config.groups import composed
from digrap.config.overrides import parsed
from digrap.config.references import Place, resolve_all_but, resolve_at, resolve_in
from digrap.config.schema import NO_PART_OF_A_RUN, Train, finished, resolved, typed, with_types
from digrap.core.errors import DigrapError, first_line
from digrap.core.files import sha256
from digrap.core.garbage import no_garbage_collection
from digrap.core.paths import CONFIGS, REPO


def register_resolvers() -> None:
    """Register what configs call with OmegaConf: ${digrap.run_hash:}, in_sweep, repo, sha256:file, cluster:key and
    others:lists,name,one; may be called again."""
    OmegaConf.register_new_resolver("digrap.run_hash", _run_hash, replace=True)
    OmegaConf.register_new_resolver("digrap.in_sweep", _in_sweep, replace=True)
    OmegaConf.register_new_resolver("digrap.repo", lambda: str(REPO), replace=True)
    OmegaConf.register_new_resolver(
        "digrap.sha256",  # None for a missing file: the code that reads it has the better message
        lambda file: sha256(Path(file))[:12] if file and Path(file).is_file() else None,
        replace=True,
    )
    OmegaConf.register_new_resolver("digrap.cluster", _cluster, replace=True)
    OmegaConf.register_new_resolver(
        "digrap.others",
        lambda lists, name, one: OmegaConf.create([other for other in lists.get(name) or () if other != one]),
        replace=True,
    )


def _cluster(key: str, *, _root_: DictConfig) -> Any:
    return getattr(cluster_of(_root_), key)


def _in_sweep(*, _root_: DictConfig) -> str:
    """The beginning of a run's hash, which tells its lines from those of the sweep's other runs; empty outside one."""
    several = OmegaConf.select(_root_, "hydra.mode") == RunMode.MULTIRUN
    return f"{_run_hash(_root_=_root_)[:6]}  " if several else ""


def _run_hash(*, _root_: DictConfig) -> str:
    from digrap.config.identity import run_hash  # imported here: identity imports this module

    return run_hash(_root_)


def compose(overrides: list[str], config: str = "train") -> DictConfig:
    """The config that `python train.py <overrides>` would run, outside of Hydra's own main."""
    if config == "train" and (cfg := _from_same_groups(overrides)) is not None:
        return cfg
    return typed(compose_untyped(overrides, config))


def compose_cluster(overrides: list[str]) -> Cluster:
    """The settings of `cluster=…` and `cluster.<key>=…`. Raises DigrapError for an unknown key or a bad value."""
    return cluster_of(compose_untyped(overrides, "train"))


def compose_with(overrides: Sequence[str], values: Mapping[str, Any]) -> DictConfig:
    """The same with keys set to values as they are, of which a text need not be made."""
    cfg = _with_references(overrides) or with_types(compose_untyped(list(overrides), "train"))
    for key, value in values.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    OmegaConf.set_struct(cfg, None)
    return resolved(cfg)


def _from_same_groups(overrides: Sequence[str]) -> DictConfig | None:
    """The config of `compose`, 100 times as fast where the same keys had other values before. None where Hydra has to
    read the overrides itself, or where they are wrong."""
    try:
        if (found := _groups_and_values(overrides)) is None:
            return None
        groups, values = found
        template, left = _template(groups, tuple(one.key_or_group for one in values), _state_of_configs())
        cfg = pickle.loads(template)
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        OmegaConf.set_struct(cfg, None)
        if any("${" in str(one.input_line) for one in values):
            return resolved(cfg)
        for place in left:
            resolve_at(cfg, place)
        return finished(cfg)
    except (HydraException, OmegaConfBaseException, DigrapError):
        return None  # the whole way words the error


@lru_cache(maxsize=256)
def _template(groups: tuple[str, ...], keys: tuple[str, ...], configs: tuple) -> tuple[bytes, list[Place]]:
    """The config of these choices from groups before the values of `keys`, and the references that depend on them."""
    cfg = pickle.loads(_of_groups(groups, configs))
    OmegaConf.set_struct(cfg, None)
    left = resolve_all_but(cfg, keys)
    OmegaConf.set_struct(cfg, True)
    return pickle.dumps(cfg), left


def _with_references(overrides: Sequence[str]) -> DictConfig | None:
    """As Hydra does it, values are put into what the groups give; references are not resolved. None for an override
    that is more than a value or a choice."""
    if (found := _groups_and_values(overrides)) is None:
        return None
    groups, values = found
    cfg = composed_of(groups)
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    return cfg


def _groups_and_values(overrides: Sequence[str]) -> tuple[tuple[str, ...], list[Override]] | None:
    """The choices from groups, and the other overrides; None where one is more than a value or a choice."""
    read = [parsed(text) for text in overrides]
    if not all(map(_is_plain, read)):
        return None
    groups, values = [], []
    for one in read:
        groups.append(str(one.input_line)) if _is_group(one) else values.append(one)
    return tuple(groups), values


def composed_of(groups: tuple[str, ...]) -> DictConfig:
    """The typed config of these choices from groups, its references not resolved, closed to new keys as Hydra's is."""
    return pickle.loads(_of_groups(groups, _state_of_configs()))  # a tenth of deepcopy's time


def _is_plain(override: Override) -> bool:
    """Whether an override is key=value, +key=value or ++key=value, without a sweep, for a part of a run."""
    first, *inner = re.split("[./@]", override.key_or_group)
    added = override.is_add() or override.is_force_add()
    to_schema = added and (first == "trainer" or not inner)  # which has no further keys
    return not (override.is_sweep_override() or override.is_delete() or to_schema or first in NO_PART_OF_A_RUN)


def _is_group(override: Override) -> bool:
    """Whether it chooses from a config group; a mapping is merged into the group's values."""
    known = override.package is not None or (CONFIGS / override.key_or_group).is_dir()
    return known and not isinstance(override.value(), dict)


def _state_of_configs() -> tuple[tuple[str, int], ...]:
    """What changes when a file of configs/ does: a sweep writes winners while it goes on."""
    return _seen[-1] if _seen else tuple(_changes(str(CONFIGS)))


_seen: list[tuple] = []  # the state within `many_configs`


@contextlib.contextmanager
def many_configs() -> Iterator[None]:
    """Within this, many configs are composed in three quarters of the time: the files of configs/ are looked at once,
    and no garbage is collected. A file that changes meanwhile is read afterwards."""
    _seen.append(_state_of_configs())
    try:
        with no_garbage_collection():
            yield
    finally:
        _seen.pop()


def _changes(folder: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _changes(entry.path)
            elif entry.name.endswith(".yaml"):
                yield entry.path, entry.stat().st_mtime_ns


@lru_cache(maxsize=256)
def _of_groups(groups: tuple[str, ...], configs: tuple) -> bytes:
    register_resolvers()
    cfg = with_types(composed(CONFIGS, configs, groups))
    OmegaConf.set_struct(cfg, True)
    return pickle.dumps(cfg)


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
        earlier = pickle.loads(pickle.dumps(cfg if OmegaConf.get_type(cfg) is Train else typed(cfg)))
        earlier.optim = _options(str(chosen["name"]))
        OmegaConf.set_struct(earlier, True)
        earlier.merge_with({**changes, "optim": chosen})
        OmegaConf.set_struct(earlier, None)
        if "${" in str(changes):
            OmegaConf.resolve(earlier)
        else:
            resolve_in(earlier, ("optim",))
        return finished(earlier)
    except (HydraException, OmegaConfBaseException, KeyError) as error:
        raise DigrapError(f"optim.start={cfg.optim.start}: {first_line(error)}") from error


@cache  # it takes as long as composing a run, and every hash of a run with a start needs it
def _options(optim: str) -> dict:
    """The options of a method, with its references to the trainer; the caller changes a copy."""
    return OmegaConf.to_container(composed_of((f"optim={optim}",)).optim)


def compose_untyped(overrides: list[str], config: str) -> DictConfig:
    """The same as Hydra composes it: all keys, types unchecked, references as they are."""
    register_resolvers()
    if GlobalHydra.instance().is_initialized():  # inside a job: Hydra allows one config loader at a time
        GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra_compose(config, overrides=overrides)
