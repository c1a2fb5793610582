"""ResNet50 with the published MoCo-v3 weights, Table 1's backbone; its head is fresh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torchvision.transforms import v2

from digrap.models.backbone import Backbone, check_image_size
from digrap.models.weights import WeightFile, random_weights

# The predecessors' (GT-RIPL/FTP), not ImageNet's.
MEAN, STD = (0.5964, 0.5712, 0.5336), (0.3228, 0.3165, 0.3374)

ENCODER = "module.base_encoder."
DROPPED = {  # the rest of the checkpoint, by prefix
    f"{ENCODER}fc.": "the projector in the place of a head",
    "module.momentum_encoder.": "the moving average of the encoder",
    "module.predictor.": "the predictor of pre-training",
}
HEAD = "fc"
SOURCE = "facebookresearch/moco-v3"
FIX = (
    f"the MoCo-v3 project ({SOURCE}) publishes r-50-1000ep.pth.tar (ResNet-50, 1000 epochs): put it there, or give "
    "backbone.weights=<file> or backbone.pretrained=false"
)


def moco_resnet50(
    num_classes: int,
    classes: Sequence[str] | None = None,
    pretrained: bool = True,
    weights: str | Path | None = None,
    image_size: int = 224,
) -> Backbone:
    """timm's resnet50 with the encoder of the MoCo-v3 checkpoint `weights` and a fresh, unanchored head.

    PIL images in, float (N, num_classes) logits out; training crops and evaluation are the predecessors'. `image_size`
    is in pixels a side. The names in `classes` are not used. `pretrained=False` leaves all weights random and reads no
    file. Raises DigrapError for a file that is missing, damaged, or holds any key that the published one has not.
    """
    check_image_size(image_size, default=False)
    module = timm.create_model("resnet50", pretrained=False, num_classes=num_classes)
    provenance = random_weights()
    if (file := find_weights(pretrained, weights)) is not None:
        file.load_into(module, ENCODER, DROPPED, fresh=(f"{HEAD}.",))
        provenance = file.provenance(SOURCE)
    train, evaluate, batch = _transforms(image_size)
    fresh = tuple(name for name, _ in module.named_parameters() if name.startswith(f"{HEAD}."))
    return Backbone(
        module, batch, train, evaluate, unanchored=fresh, head=(HEAD,), has_head=False, provenance=provenance
    )


def find_weights(pretrained: bool = True, weights: str | Path | None = None) -> WeightFile | None:
    """The file of weights; None for random ones. Raises DigrapError where it is missing."""
    return WeightFile.find(weights, FIX) if pretrained else None


def _transforms(image_size: int) -> tuple[v2.Compose, v2.Compose, v2.Compose]:
    """(train, eval) from PIL to uint8 (3, H, W), and the batch's uint8 → normalised float."""
    train = v2.Compose([v2.RandomResizedCrop(image_size), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    resized = round(image_size * 256 / 224)
    evaluate = v2.Compose([v2.Resize(resized), v2.CenterCrop(image_size), v2.PILToTensor()])
    return train, evaluate, v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
