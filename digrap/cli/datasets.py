"""Configs of train.py's datasets, composed for scripts."""

from __future__ import annotations

from omegaconf import DictConfig

from digrap.config.compose import compose
from digrap.config.overrides import as_typed, override


def dataset_config(name: object, data_root: object, overrides: list[str], **flags: bool) -> DictConfig:
    """Compose the config of `dataset=<name>` with its files under `data_root` and with `dataset.<key>=…` overrides.

    `flags` are dataset keys set to true or false: each holds where this dataset has the key and no override sets it.
    """
    words = [as_typed(f"dataset={name}"), override("data_root", data_root), *overrides]
    cfg = compose(words)
    given = {word.lstrip("+").partition("=")[0] for word in overrides}
    changed = [
        f"dataset.{key}={str(value).lower()}"
        for key, value in flags.items()
        if key in cfg.dataset and f"dataset.{key}" not in given
    ]
    return compose([*words, *changed]) if changed else cfg
