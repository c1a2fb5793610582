"""ResNet50 with the published MoCo-v3 weights, Table 1's backbone; its head is fresh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.models.backbone import Backbone, first_line

# The predecessors' (GT-RIPL/FTP), not ImageNet's.
MEAN, STD = (0.5964, 0.5712, 0.5336), (0.3228, 0.3165, 0.3374)

ENCODER = "module.base_encoder."
DROPPED = {  # what else the checkpoint holds, by prefix
    f"{ENCODER}fc.": "the projector in the place of a head",
    "module.momentum_encoder.": "the slow copy of the encoder",
    "module.predictor.": "the predictor of pre-training",
}
HEAD = "fc"
ORIGIN = "the MoCo-v3 project (facebookresearch/moco-v3) publishes it as r-50-1000ep.pth.tar (ResNet-50, 1000 epochs)"


def moco_resnet50(
    num_classes: int,
    pretrained: bool = True,
    weights: str | Path | None = None,
    image_size: int = 224,
    **_: Any,
) -> Backbone:
    """timm's resnet50 with the encoder of the MoCo-v3 checkpoint `weights` and a fresh, unanchored head.

    PIL images in, float (N, num_classes) logits out; training crops and evaluation are the predecessors'. `image_size`
    is in pixels a side. `pretrained=False` leaves all weights random and reads no file. Raises DigrapError for a file
    that is missing, damaged, or holds anything else than the published one.
    """
    module = timm.create_model("resnet50", pretrained=False, num_classes=num_classes)
    provenance = {}
    if pretrained:
        path = _existing(weights)
        load_encoder(module, path)
        provenance = {"weights": path.name, "sha256": sha256(path)}
    train, evaluate, batch = _transforms(image_size)
    fresh = tuple(name for name, _ in module.named_parameters() if name.startswith(f"{HEAD}."))
    backbone = Backbone(module, batch, train, evaluate, unanchored=fresh, head=(HEAD,), has_head=False)
    backbone.provenance = provenance
    return backbone


def _existing(weights: str | Path | None) -> Path:
    mend = f"{ORIGIN}: put it there, or give backbone.weights=<file> or backbone.pretrained=false"
    if weights is None:
        raise DigrapError(f"backbone.weights=null: MoCo-v3's weights come from a file; {mend}")
    path = Path(weights).expanduser()
    if not path.is_file():
        raise DigrapError(f"backbone.weights={path}: there is no such file; {mend}")
    return path


def load_encoder(module: nn.Module, path: Path) -> None:
    """Load the checkpoint's encoder into `module`, all but its head.

    Every key of the file is loaded or named in DROPPED, every tensor of the model but the head's is filled: anything
    else raises DigrapError with the keys.
    """
    loaded, unknown = {}, []
    for key, value in _read(path).items():
        if key.startswith(tuple(DROPPED)):
            continue
        if key.startswith(ENCODER):
            loaded[key.removeprefix(ENCODER)] = value
        else:
            unknown.append(key)
    wanted = {name for name in module.state_dict() if not name.startswith(f"{HEAD}.")}
    unknown += [ENCODER + name for name in loaded if name not in wanted]
    missing = [ENCODER + name for name in sorted(wanted - loaded.keys())]
    for keys, what in ((unknown, "are not known"), (missing, "are missing")):
        if keys:
            raise DigrapError(
                f"backbone.weights={path}: {len(keys)} keys {what} ({_few(keys)}); is it a MoCo-v3 ResNet-50? {ORIGIN}"
            )
    try:
        module.load_state_dict(loaded, strict=False)  # the head alone is not in it: seen above
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DigrapError(f"backbone.weights={path}: the weights do not fit: {reason}; {ORIGIN}") from error


def _read(path: Path) -> dict[str, Tensor]:
    """The checkpoint's state_dict."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        raise DigrapError(
            f"backbone.weights={path}: not a readable torch file ({first_line(error)}); {ORIGIN}"
        ) from error
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise DigrapError(f"backbone.weights={path}: it holds no state_dict; {ORIGIN}")
    return state


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")


def _transforms(image_size: int) -> tuple[v2.Compose, v2.Compose, v2.Compose]:
    """(train, eval) from PIL to uint8 (3, H, W), and the batch's uint8 → normalised float."""
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
        raise DigrapError(f"backbone.image_size={image_size}: give a whole number of pixels")
    train = v2.Compose([v2.RandomResizedCrop(image_size), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    resized = round(image_size * 256 / 224)
    evaluate = v2.Compose([v2.Resize(resized), v2.CenterCrop(image_size), v2.PILToTensor()])
    return train, evaluate, v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
