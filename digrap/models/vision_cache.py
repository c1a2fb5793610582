"""Features of pictures from a frozen vision tower, computed once and kept on disk.

A picture is known by its pixels as the model gets them, the tower and projector by their weights: what was computed by
others is never taken. Features are computed one picture at a time, so that they do not depend on who shares the batch,
nor on what was there before.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically
from digrap.models.backbone import Backbone
from digrap.models.lora_layers import within
from digrap.models.vlm import GRIDS, takes
from digrap.models.weights import tensors_sha256

log = logging.getLogger(__name__)
OFF = "trainer.vision_cache=false"


def use_vision_cache(backbone: Backbone, changing: Iterable[str], root: Path) -> VisionCache:
    """Let the backbone take its pictures' features from a folder below `root`, and put new ones there.

    `changing` are the names of the parameters that may change from here on. Raises DigrapError where one of them is of
    the vision tower or projector, where pictures are augmented or of several sizes, and for a model without features of
    pictures.
    """
    inner = getattr(backbone.module, "model", None)
    seeing = _seeing(backbone)
    if not hasattr(inner, "get_image_features") or not seeing:
        raise DigrapError(
            f"trainer.vision_cache=true: {type(backbone.module).__name__} has no vision tower before a language model; "
            f"give {OFF}"
        )
    if moving := [name for name in changing if name in seeing]:
        raise DigrapError(
            f"trainer.vision_cache=true: the vision tower or projector is not frozen ({moving[0]}; {len(moving)} "
            f"tensors), so the pictures' features would change; give peft=lora peft.targets=language, or {OFF}"
        )
    if takes(backbone.module, GRIDS):
        raise DigrapError(
            f"trainer.vision_cache=true: it needs pictures of one size, but these have several; give {OFF}"
        )
    if backbone.train_transform is not None:
        raise DigrapError(
            f"trainer.vision_cache=true: training pictures are augmented differently each time; give {OFF}"
        )
    cache = VisionCache(inner.get_image_features, root / _digest(backbone, seeing))
    inner.get_image_features = cache
    log.info("features of pictures are kept in %s (it may be deleted at any time)", cache.folder)
    return cache


@dataclass
class VisionCache:
    """In place of a model's get_image_features; `computed` counts the pictures that went through the tower."""

    original: Any
    folder: Path
    computed: int = 0
    listed: bool | None = field(default=None, init=False)  # whether the model gives a list of features; not known yet
    kept: bool = field(default=True, init=False)  # False: the disk takes no more

    @torch.compiler.disable
    @torch.no_grad()
    def __call__(self, pixel_values: Tensor, **options: Any) -> BaseModelOutputWithPooling:
        """The features of N pictures (N, C, H, W): each from the folder, or computed and put there."""
        if self.listed is None:
            self.listed = isinstance(self._features(pixel_values[:1], options), list)
        keys, found = self._keys(pixel_values), {}
        for key, picture in zip(keys, pixel_values, strict=True):
            if key not in found:
                found[key] = self._read(key, pixel_values.device)
            if found[key] is None:
                found[key] = self._features(picture[None], options)[0]
                self.computed += 1
                self._write(key, found[key])
        features = [found[key] for key in keys]
        return BaseModelOutputWithPooling(pooler_output=features if self.listed else torch.stack(features))

    def _features(self, one: Tensor, options: dict[str, Any]) -> Any:
        return self.original(pixel_values=one, **{**options, "return_dict": True}).pooler_output

    def _keys(self, pixel_values: Tensor) -> list[str]:
        """A name for each picture: a digest of its pixels, and of what else decides the bits of its features."""
        kind = pixel_values.device.type
        how = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else "no"
        start = f"{kind} {how} {pixel_values.dtype} {tuple(pixel_values.shape[1:])} ".encode()
        pixels = pixel_values.detach().cpu().contiguous()
        rows = (row.flatten().view(torch.uint8).numpy() for row in pixels)
        return [hashlib.sha256(start + row.tobytes()).hexdigest() for row in rows]

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _read(self, key: str, device: torch.device) -> Tensor | None:
        """Features (T, D) that are there; None where none are, or they are damaged."""
        file = self._file(key)
        if not file.is_file():
            return None
        try:
            with safetensors.safe_open(file, "pt") as opened:
                value, wanted = opened.get_tensor("features"), (opened.metadata() or {}).get("crc32")
            if wanted != _crc32(value):
                raise ValueError("its checksum differs")
        except Exception as error:  # safetensors and the file system have no base class in common
            log.warning("%s is damaged (%s); computing it again", file, error)
            return None
        return value.to(device)

    def _write(self, key: str, value: Tensor) -> None:
        """Keep features; where the disk takes none, a warning says so once, and they are computed each time."""
        value = value.cpu().contiguous()
        content = safetensors.torch.save({"features": value}, {"crc32": _crc32(value)})
        try:
            if self.kept:
                write_atomically(self._file(key), lambda file: file.write(content))
        except OSError as error:
            self.kept = False
            log.warning("%s: no more features can be written (%s): the rest is computed each time", self.folder, error)


def _crc32(value: Tensor) -> str:
    return str(zlib.crc32(value.reshape(-1).view(torch.uint8).numpy()))


def _seeing(backbone: Backbone) -> set[str]:
    """The names of the tensors of vision tower and projector: all but those of language model and head."""
    state = _state(backbone.module)
    if not any("language_model" in name.split(".") for name in state):
        return set()
    return {name for name in state if "language_model" not in name.split(".") and not within(name, backbone.head)}


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {**module.state_dict(), **dict(module.named_buffers())}


def _digest(backbone: Backbone, seeing: set[str]) -> str:
    """A folder's name: tower, projector, image processor and torch decide what is computed of a picture."""
    state, config = _state(backbone.module), backbone.module.config
    skipped = ("text_config", "dtype", "architectures", "tie_word_embeddings")
    own = {key: value for key, value in sorted(config.to_dict().items()) if key not in skipped and key[0] != "_"}
    how = [type(backbone.module).__name__, own, backbone.provenance.get("image_processor"), torch.__version__]
    weights = tensors_sha256({name: state[name] for name in seeing})
    return hashlib.sha256(f"{how!r} {weights}".encode()).hexdigest()[:16]
