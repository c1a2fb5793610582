"""The miniature's foundation model: timm's smallest ResNet, pre-trained on glyphs by tools/pretrain_mini.py."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import timm
import torch
from torch import nn
from torchvision.transforms import v2

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.core.paths import REPO
from digrap.models.backbone import Backbone

WEIGHTS = REPO / "data" / "mini" / "mini_resnet.safetensors"
WEIGHTS_SHA256 = "1593511281c48a66d26baa188afe667b53212860612ffe952a97b7e94a6113df"
"""Of the shipped file. tools/pretrain_mini.py prints the new value when it writes other weights."""

MEAN = STD = (0.5, 0.5, 0.5)


def build_module(num_classes: int) -> nn.Module:
    """timm's `test_resnet` with layer norm: float (B, 3, S, S) → logits (B, num_classes), random weights.

    Layer norm in place of batch norm: no running statistics, so what the optimizer moves is the whole model.
    """
    module = timm.create_model("test_resnet", norm_layer="layernorm2d", num_classes=num_classes)
    for layer in module.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # on CPU a fifth less time a step: nothing is copied for the backward pass
    return module


def image_transform() -> v2.Compose:
    """uint8 (…, 3, S, S) → float32 normalised to about [-1, 1]. No random parts: every epoch sees the same pictures."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean=MEAN, std=STD)])


def mini_resnet(
    num_classes: int = 45, pretrained: bool = True, weights: str | Path = WEIGHTS, image_size: int = 32, **_
) -> Backbone:
    """The miniature backbone with its zero-shot head.

    The model is fully convolutional, `image_size` is free (32 is what it was pre-trained at). Raises DigrapError when
    the weights are missing, damaged, or of another shape (another number of classes, say).
    """
    module = build_module(num_classes)
    if pretrained:
        load_weights(module, Path(weights))
    return Backbone(module, image_transform(), head=("fc",), has_head=pretrained)


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into `module`; the shipped file is held against its sha256.

    Raises DigrapError naming the file and what mends it.
    """
    mend = "restore it with `git checkout -- data/mini/mini_resnet.safetensors`"
    if not path.is_file():
        raise DigrapError(f"{path}: the weights are missing; {mend} (tools/pretrain_mini.py made them)")
    if path.resolve() == WEIGHTS and sha256(path) != WEIGHTS_SHA256:
        raise DigrapError(f"{path}: the weights are damaged or of another version (sha256 differs); {mend}")
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise DigrapError(f"{path}: not a readable safetensors file ({error}); {mend}") from error
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DigrapError(f"{path}: the weights do not fit the model: {reason} (num_classes must be 45)") from error
