"""What choices from config groups give: composed by Hydra's own parts, from files that are read once."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

VERSION = "1.3"  # of Hydra's behaviour
KEPT = 4  # states of the folder of configs


def composed(folder: Path, state: tuple, choices: Sequence[str], config: str = "train") -> DictConfig:
    """As Hydra composes these choices from the configs in `folder`, but without the node `hydra`, which is the larger
    part and none of a run. `state` changes when a file of the folder does."""
    loader = _loader(folder, state)
    parsed, files = loader._parse_overrides_and_create_caching_repo(config, list(choices))
    loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=False)
    found = create_defaults_list(files, config, parsed, prepend_hydra=True, skip_missing=False)
    own = [default for default in found.defaults if not str(default.config_path).startswith("hydra/")]
    cfg = loader._compose_config_from_defaults_list(own, files)
    OmegaConf.set_struct(cfg, True)
    loader._apply_overrides_to_config(found.config_overrides, cfg)
    return cfg


@lru_cache(maxsize=KEPT)
def _loader(folder: Path, state: tuple) -> ConfigLoaderImpl:
    version.setbase(VERSION)
    setup_globals()
    loader = ConfigLoaderImpl(create_config_search_path(str(folder)))
    loader.repository = _Files(loader.config_search_path)
    return loader


class _Files(ConfigRepository):
    """Every config is looked for and read once; a composition changes what it gets, so each gets copies."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._read: dict[str, bytes] = {}
        self._sources: dict[tuple, Any] = {}

    def __deepcopy__(self, memo: dict) -> _Files:
        return self  # Hydra copies it before each composition, in case that changes its sources

    def load_config(self, config_path: str) -> Any:
        """A copy of what Hydra reads."""
        if config_path not in self._read:
            self._read[config_path] = pickle.dumps(super().load_config(config_path))
        return pickle.loads(self._read[config_path])

    def _find_object_source(self, *args: Any, **kwargs: Any) -> Any:
        key = (*args, *kwargs.values())
        if key not in self._sources:
            self._sources[key] = super()._find_object_source(*args, **kwargs)
        return self._sources[key]
