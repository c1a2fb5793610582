"""CLIP's image tower with the zero-shot head that its text tower writes from the class names."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import AugmentationCfg, PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms import InterpolationMode, v2

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.models.backbone import Backbone, first_line

MEND = "give backbone.weights=<file> or backbone.pretrained=false"
SPELT = {"teddy-bear": "teddy bear"}  # DomainNet's t-shirt keeps its hyphen


def open_clip_backbone(
    num_classes: int,
    classes: Sequence[str] | None = None,
    model: str = "ViT-B-16-quickgelu",
    pretrained: str | bool = "openai",
    weights: str | Path | None = None,
    image_size: int | None = None,
    **_: Any,
) -> Backbone:
    """open_clip's `model` as a classifier of `classes` (in label order); PIL in, float (N, num_classes) logits out.

    `pretrained` is open_clip's name of the weights; their file is `weights`, else it comes from open_clip's cache or
    the hub. The head is zero-shot: part of the model, anchored like the rest. With `pretrained=False` all weights are
    random, the head's as well, and the class names are not needed. `image_size` (pixels a side) replaces the model's
    own. Raises DigrapError for a model or weights that open_clip does not know, an activation that is not the
    weights' own, class names that do not fit, and files that are missing, damaged or of another model.
    """
    _check_model(model)
    if not pretrained:
        clip = _create(model, None, image_size)
        network = Classifier(clip.visual, torch.empty(num_classes, _width(model)))
        nn.init.normal_(network.head.weight, std=_width(model) ** -0.5)
        return _backbone(network, {}, has_head=False)
    known, path = _known_weights(model, pretrained), None
    if classes is None or len(classes) != num_classes:
        given = "none" if classes is None else len(classes)
        raise DigrapError(f"backbone=clip_vit_b16: the head of {num_classes} classes needs their names; given: {given}")
    path = _file(model, known, weights)
    clip = _create(model, path, image_size)
    tokenizer = open_clip.get_tokenizer(model)
    backbone = _backbone(Classifier(clip.visual, zero_shot_weight(clip, tokenizer, classes)), known, has_head=True)
    backbone.provenance = _provenance(path)
    return backbone


class Classifier(nn.Module):
    """Float (N, 3, S, S) → logits: `visual`'s features at length 1, times the head's rows."""

    def __init__(self, visual: nn.Module, weight: Tensor):
        super().__init__()
        self.visual = visual
        self.head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.head.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(normalize(self.visual(images), dim=-1))


def class_text(name: str) -> str:
    """A class name as the prompts say it: aircraft_carrier is "aircraft carrier"."""
    return SPELT.get(name, name.replace("_", " "))


def zero_shot_weight(clip: nn.Module, tokenizer: Any, classes: Sequence[str]) -> Tensor:
    """The head's weight (classes, width): mean text embeddings over OpenAI's prompts at length 1, times CLIP's scale.

    The scale is in the weight, where the optimizer finds logits of the size that a fresh head would have. A logit
    bias, where a model has one, is the same for all classes and left out.
    """
    names = [class_text(name) for name in classes]
    clip.eval()  # patch or attention dropout, in models that have any
    columns = open_clip.build_zero_shot_classifier(clip, tokenizer, names, open_clip.OPENAI_IMAGENET_TEMPLATES)
    clip.train()
    with torch.no_grad():
        return clip.logit_scale.exp() * columns.T


def _check_model(model: str) -> None:
    names = open_clip.list_models()
    if model not in names:
        near = difflib.get_close_matches(model, names, n=3, cutoff=0.4) or names[:3]
        raise DigrapError(f"backbone.model={model}: open_clip has no such model; nearest: {', '.join(near)}")


def _known_weights(model: str, pretrained: str | bool) -> dict[str, Any]:
    """open_clip's description of the weights. open_clip itself only warns where the activation is another one."""
    known = open_clip.get_pretrained_cfg(model, str(pretrained))
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise DigrapError(
            f"backbone.pretrained={pretrained}: open_clip has no such weights of {model}; it has: {tags} (or false)"
        )
    theirs, ours = (bool(config.get("quick_gelu")) for config in (known, open_clip.get_model_config(model)))
    if theirs != ours:
        kinds = {True: "QuickGELU", False: "GELU"}
        other = f"{model}-quickgelu" if theirs else model.removesuffix("-quickgelu")
        raise DigrapError(
            f"backbone.model={model}: it has {kinds[ours]}, and backbone.pretrained={pretrained} was trained with "
            f"{kinds[theirs]}; take backbone.model={other}"
        )
    return known


def _file(model: str, known: dict[str, Any], weights: str | Path | None) -> Path:
    """The weights' file: the given one, else open_clip's, fetched where its cache has it not."""
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise DigrapError(f"backbone.weights={path}: there is no such file; null takes open_clip's own weights")
        return path
    return fetched(known, f"backbone.model={model}: its weights", MEND)


def fetched(known: dict[str, Any], what: str, mend: str) -> Path:
    """The file of weights that open_clip knows, from its cache or the hub. Raises DigrapError where neither has it."""
    try:
        return Path(open_clip.download_pretrained(known))
    except Exception as error:  # huggingface_hub, its http library and open_clip each have their own
        raise DigrapError(
            f"{what} are not in the cache and could not be fetched ({first_line(error)}); mend the network, or {mend}"
        ) from error


def _provenance(path: Path) -> dict[str, str]:
    """What names the weights in a record: the file and, from the hub's cache, the commit it is of."""
    found = {"weights": path.name, "sha256": sha256(path)}
    return found | ({"revision": path.parent.name} if path.parent.parent.name == "snapshots" else {})


def _create(model: str, path: Path | None, image_size: int | None) -> nn.Module:
    """The whole CLIP model, from a file or at random."""
    if image_size is not None and (isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1):
        raise DigrapError(
            f"backbone.image_size={image_size}: give a whole number of pixels, or null for the model's own"
        )
    try:
        return open_clip.create_model(
            model,
            pretrained=None if path is None else str(path),
            force_image_size=image_size,
            weights_only=path is None or not _is_torchscript(path),
            pretrained_text=False,
        )
    except Exception as error:  # safetensors, pickle, zip and torch each have their own
        if path is None:
            raise DigrapError(f"backbone.model={model}: open_clip cannot build it ({first_line(error)})") from error
        reason = str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
        raise DigrapError(
            f"backbone.weights={path}: not readable, or not weights of {model} ({reason}); "
            f"give the backbone.model they belong to, or backbone.weights=null for open_clip's own"
        ) from error


def _is_torchscript(path: Path) -> bool:
    """Whether torch will take the file for a TorchScript archive, as OpenAI's own .pt are, and run no pickle."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and f"{names[0].split('/')[0]}/constants.pkl" in names  # torch's test: the first one's folder


def _width(model: str) -> int:
    return open_clip.get_model_config(model)["embed_dim"]


def _backbone(network: Classifier, known: dict[str, Any], has_head: bool) -> Backbone:
    """CLIP's own transforms: PIL to uint8 (3, H, W), and the batch's uint8 → normalised float."""
    facts = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), {**known, "size": network.visual.image_size}))
    kinds = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
    if facts.resize_mode != "shortest" or facts.interpolation not in kinds:
        raise DigrapError(
            f"backbone=clip_vit_b16: weights with resize_mode={facts.resize_mode}, interpolation={facts.interpolation} "
            "are not provided for; take others, openai say"
        )
    size, kind = facts.input_size[1:], kinds[facts.interpolation]
    # No flip: CLIP was trained without, and a picture may hold writing.
    crop = v2.RandomResizedCrop(size, scale=AugmentationCfg().scale, interpolation=InterpolationMode.BICUBIC)
    train = v2.Compose([crop, v2.PILToTensor()])
    evaluate = v2.Compose([v2.Resize(size[0], interpolation=kind), v2.CenterCrop(size), v2.PILToTensor()])
    batch = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(facts.mean, facts.std)])
    return Backbone(network, batch, train, evaluate, head=("head",), has_head=has_head)
