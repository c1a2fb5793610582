"""The miniature's foundation model: timm's smallest ResNet, pre-trained on glyphs by tools/pretrain_mini.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch import nn
from torchvision.transforms import v2

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.models.backbone import Backbone
from digrap.models.weights import WeightFile, random_weights

WEIGHTS = REPO / "data" / "mini" / "mini_resnet.safetensors"
WEIGHTS_SHA256 = "1593511281c48a66d26baa188afe667b53212860612ffe952a97b7e94a6113df"
"""Of the shipped file. tools/pretrain_mini.py prints the new value when it writes other weights."""
SOURCE = "data/mini/mini_resnet.safetensors"
FIX = f"`git checkout -- {SOURCE}` restores the shipped weights"
CLASSES = 45  # of the shipped weights
OTHERWISE = "give a file of such a model's weights, or leave backbone.weights out for the shipped ones, of 45 classes"

MEAN = STD = (0.5, 0.5, 0.5)


def build_module(num_classes: int) -> nn.Module:
    """timm's `test_resnet` with layer norm: float (B, 3, S, S) → logits (B, num_classes), random weights.

    Layer norm replaces batch norm: without running statistics, the optimizer moves the whole model.
    """
    module = timm.create_model("test_resnet", norm_layer="layernorm2d", num_classes=num_classes)
    for layer in module.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # nothing is copied for the backward pass: a fifth less time a step on CPU
    return module


def image_transform() -> v2.Compose:
    """uint8 (…, 3, S, S) → float32 normalised to [-1, 1]. No random parts: every epoch sees the same pictures."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean=MEAN, std=STD)])


def mini_resnet(
    num_classes: int = CLASSES,
    classes: Sequence[str] | None = None,
    pretrained: bool = True,
    weights: str | Path = WEIGHTS,
) -> Backbone:
    """The miniature backbone with its zero-shot head: float (B, 3, S, S) → logits (B, num_classes).

    The module is fully convolutional and takes any S (32 is what it was pre-trained at). The names in `classes` are not
    used: the head has the miniature's. `pretrained=False` leaves all weights random. Raises DigrapError when the
    weights are missing, damaged, or do not fit (another number of classes, say).
    """
    module, provenance = build_module(num_classes), random_weights()
    if pretrained:
        shipped = weights is not None and Path(weights).expanduser().resolve() == WEIGHTS
        file = WeightFile.find(weights, FIX if shipped else OTHERWISE)
        if shipped:
            file.check_shipped(WEIGHTS_SHA256)
            if num_classes != CLASSES:
                raise DigrapError(
                    f"backbone=mini_resnet: its shipped weights are for the miniature's {CLASSES} classes, but these "
                    f"data have {num_classes}; for pictures of your own use backbone=timm backbone.model=… "
                    "(docs/own_data.md), or start from random weights: backbone.pretrained=false"
                )
        file.load_into(module)
        provenance = file.provenance(SOURCE if shipped else "file")
    return Backbone(module, image_transform(), head=("fc",), has_head=pretrained, provenance=provenance)
