"""Names that configs had in the first release: hashes keep them, and old run folders are read by them."""

from __future__ import annotations

from typing import Any

# today's key or target: its first name
KEYS = {"dataset.select_by": "dataset.metric", "optim.holdout": "optim.carve"}
TARGETS = {
    "digrap.models.mini_resnet.mini_resnet": "digrap.models.resnet.mini_resnet",
    "digrap.models.open_clip_model.open_clip_backbone": "digrap.models.clip.clip_vit_b16",
}


def take(plain: dict[str, Any], key: str, default: Any = None) -> Any:
    """Remove the dotted `key` from nested dicts and return its value, or `default` where there is none."""
    *groups, last = key.split(".")
    for group in groups:
        plain = plain.get(group)
        if not isinstance(plain, dict):  # missing, or a damaged file has a value there
            return default
    return plain.pop(last, default)


def put(plain: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted `key` of nested dicts."""
    *groups, last = key.split(".")
    for group in groups:
        plain = plain[group]
    plain[last] = value


def renamed(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a plain config of the first release under today's names; one of today is left as it is."""
    for key, first in KEYS.items():
        if (value := take(plain, first)) is not None:
            put(plain, key, value)
    return _targets(plain, {first: today for today, first in TARGETS.items()})


def _targets(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _targets(item, names) for key, item in value.items()}
    return names.get(value, value) if isinstance(value, str) else value
