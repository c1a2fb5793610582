"""The parameter shapes that the optimizers are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

import timm
import torch

from digrap.core.errors import DigrapError, nearest

CLASSES = 345  # DomainNet's
RANK = 8
# (width in, width out) of the adapted q, k, v (and o) of one layer
GEMMA_2B = [(2048, 2048), (2048, 256), (2048, 256), (2048, 2048)]  # 8 heads of 256 for queries, one for keys and values
SIGLIP_SO400M = [(1152, 1152)] * 3
VICUNA_7B = [(4096, 4096)] * 4
CLIP_L14 = [(1024, 1024)] * 3


@dataclass(frozen=True)
class Shapes:
    """Shapes of a model's trained parameters; `anchor` is where they are fine-tuned from: "init", adapters "zero"."""

    title: str
    tensors: list[tuple[int, ...]]
    anchor: str = "init"

    @property
    def count(self) -> int:
        """The number of elements."""
        return sum(map(prod, self.tensors))


def shapes_of(model: str) -> Shapes:
    """The shapes of a model in MODELS, or of one of timm's. Raises DigrapError for an unknown one."""
    return MODELS[model]() if model in MODELS else _timm(model, model)


def timm_model(model: str, others: Iterable[str]) -> torch.nn.Module:
    """A classifier of timm's with random weights. Raises DigrapError for an unknown name; `others` are names of models
    that are not timm's."""
    try:
        return timm.create_model(model, num_classes=CLASSES)
    except (RuntimeError, ValueError) as error:
        raise DigrapError(f"model={model}: {error}; {nearest(model, [*others, *timm.list_models()])}") from error


def _timm(model: str, title: str) -> Shapes:
    with torch.device("meta"):
        return Shapes(title, [tuple(param.shape) for param in timm_model(model, MODELS).parameters()])


def _lora(title: str, *layers: tuple[int, list[tuple[int, int]]]) -> Shapes:
    """Adapters A (rank, in) and B (out, rank) of each module, for (number of layers, modules of a layer)."""
    widths = [width for count, modules in layers for width in modules * count]
    return Shapes(title, [shape for wide, out in widths for shape in ((RANK, wide), (out, RANK))], anchor="zero")


MODELS: dict[str, Callable[[], Shapes]] = {
    "vit_b16": lambda: _timm("vit_base_patch16_224", "ViT-B/16"),
    "resnet50": lambda: _timm("resnet50", "ResNet50"),
    "lora_3b": lambda: _lora("LoRA of PaliGemma-3B", (18, GEMMA_2B), (27, SIGLIP_SO400M)),
    "lora_7b": lambda: _lora("LoRA of LLaVA-1.5-7B", (32, VICUNA_7B), (24, CLIP_L14)),
}
