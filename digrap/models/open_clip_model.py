"""Any open_clip model as a classifier: its image tower, and the head that its text tower writes from class names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import AugmentationCfg, PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms import InterpolationMode, v2

from digrap.core.errors import DigrapError
from digrap.data.class_names import in_words
from digrap.models.backbone import Backbone, check_image_size
from digrap.models.kept_array import kept_array
from digrap.models.open_clip_weights import (
    Options,
    activation,
    build,
    check_model,
    fetched,
    known_weights,
    tags_of,
    tokenizer_of,
    weight_file,
)
from digrap.models.weights import Provenance, WeightFile, random_weights

log = logging.getLogger(__name__)
MANY = 100  # classes whose head takes noticeable time
OPTIONS = Options(
    model="backbone.model",
    tag="backbone.pretrained",
    file="backbone.weights",
    offline="give backbone.weights=<file> or backbone.pretrained=false",
    other=", or backbone.weights=null for open_clip's own",
)


def open_clip_backbone(
    num_classes: int,
    classes: Sequence[str] | None = None,
    model: str = "ViT-B-16-quickgelu",
    pretrained: str | bool = "openai",
    weights: str | Path | None = None,
    image_size: int | None = None,
    cache: Path | None = None,
) -> Backbone:
    """open_clip's `model` as a classifier of `classes` (in label order); PIL in, float (N, num_classes) logits out.

    `pretrained` is open_clip's name of the weights; their file is `weights`, else it comes from open_clip's cache or
    the hub. Under a name of its own the file `weights` may hold any weights of `model`: that they were trained with its
    activation, and on pictures as open_clip prepares them for a file, is assumed, and stands in `remarks`. The head is
    zero-shot: part of the model, anchored like the rest. With `pretrained=False` all weights are random, the head's as
    well, and the class names are not needed. `image_size` (pixels a side) replaces the model's own. `cache` is a folder
    that keeps heads: 1,000 classes take minutes without a GPU. Raises DigrapError for a model or weights that open_clip
    does not know, weights trained with another activation, class names that do not fit, and files that are missing,
    damaged or of another model.
    """
    check_model(model, OPTIONS)
    check_image_size(image_size)
    if not pretrained:
        clip = build(model, None, OPTIONS, image_size)
        network = Classifier(clip.visual, torch.empty(num_classes, _width(model)))
        nn.init.normal_(network.head.weight, std=_width(model) ** -0.5)
        return _backbone(network, {}, random_weights(), has_head=False)
    if classes is None or len(classes) != num_classes:
        given = "none" if classes is None else len(classes)
        raise DigrapError(
            f"backbone.model={model}: the zero-shot head of {num_classes} classes needs their names; given: {given}; "
            "backbone.pretrained=false needs none"
        )
    tag = str(pretrained)
    file, known = _weights(model, tag, weights)
    clip = build(model, file, OPTIONS, image_size)
    tags = {} if known is None else {"tag": tag}
    provenance = file.provenance("open_clip" if weights is None else "file", model=model, **tags)
    names, prompts = [in_words(name) for name in classes], open_clip.OPENAI_IMAGENET_TEMPLATES
    of = [model, provenance["sha256"], names, [template("") for template in prompts]]

    def make() -> np.ndarray:
        if len(names) > MANY:
            log.info("%s: computing the zero-shot head of %d classes, %d prompts each", model, len(names), len(prompts))
        return zero_shot_weight(clip, tokenizer_of(model, OPTIONS), names).numpy()

    head = torch.from_numpy(kept_array(cache, "head", of, make))
    built = _backbone(Classifier(clip.visual, head), known or {}, provenance, has_head=True)
    if known is None:
        facts = PreprocessCfg()
        built.remarks["assumed"] = (
            f"{file.path.name}: assumed to be trained with {activation(model)}, on pictures of mean {facts.mean} and "
            f"std {facts.std}, {facts.interpolation}: backbone.pretrained={tag} is not one of open_clip's weights of "
            f"{model}"
        )
        log.warning(built.remarks["assumed"])
    return built


def find_weights(model: str, pretrained: str | bool = "openai", weights: str | Path | None = None) -> None:
    """Find or fetch the file of weights. Raises DigrapError as `open_clip_backbone` where it cannot be had."""
    check_model(model, OPTIONS)
    if pretrained:
        _weights(model, str(pretrained), weights)


def _weights(model: str, tag: str, weights: str | Path | None) -> tuple[WeightFile, dict[str, Any] | None]:
    """The file of weights, and open_clip's description of them, None where it knows none of that name."""
    known = known_weights(model, tag, OPTIONS, own_file=weights is not None)
    if known is None and weights is None:
        raise DigrapError(
            f"backbone.pretrained={tag}: open_clip has no such weights of {model}; it has: {tags_of(model)} (or "
            "false), or give backbone.weights=FILE"
        )
    return weight_file(fetched(known, model, tag, OPTIONS) if weights is None else weights, OPTIONS), known


class Classifier(nn.Module):
    """Float (N, 3, S, S) → logits (N, classes): `visual`'s features normalised to length 1, times the head's rows."""

    def __init__(self, visual: nn.Module, weight: Tensor):
        super().__init__()
        self.visual = visual
        self.head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.head.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(normalize(self.visual(images), dim=-1))


def zero_shot_weight(clip: nn.Module, tokenizer: Any, names: Sequence[str]) -> Tensor:
    """The head's weight (names, width): mean text embeddings over OpenAI's prompts at length 1, times CLIP's scale.

    The scale is part of the weight, so that the logits that the optimizer sees are as large as a fresh head's. A logit
    bias, where a model has one, is the same for all classes and is left out.
    """
    clip.eval()  # patch or attention dropout, in models that have any
    columns = open_clip.build_zero_shot_classifier(clip, tokenizer, names, open_clip.OPENAI_IMAGENET_TEMPLATES)
    clip.train()
    with torch.no_grad():
        return clip.logit_scale.exp() * columns.T


def _width(model: str) -> int:
    return open_clip.get_model_config(model)["embed_dim"]


def _backbone(network: Classifier, known: dict[str, Any], provenance: Provenance, has_head: bool) -> Backbone:
    """The network with CLIP's own transforms: PIL to uint8 (3, H, W), and the batch's uint8 → normalised float."""
    facts = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), {**known, "size": network.visual.image_size}))
    kinds = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
    if facts.resize_mode != "shortest" or facts.interpolation not in kinds:
        raise DigrapError(
            f"backbone.pretrained: weights with resize_mode={facts.resize_mode}, interpolation={facts.interpolation} "
            "are not supported; use others, such as openai"
        )
    size, kind = facts.input_size[1:], kinds[facts.interpolation]
    # No flip: CLIP was trained without, and a picture may hold writing.
    crop = v2.RandomResizedCrop(size, scale=AugmentationCfg().scale, interpolation=InterpolationMode.BICUBIC)
    train = v2.Compose([crop, v2.PILToTensor()])
    evaluate = v2.Compose([v2.Resize(size[0], interpolation=kind), v2.CenterCrop(size), v2.PILToTensor()])
    batch = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(facts.mean, facts.std)])
    return Backbone(network, batch, train, evaluate, head=("head",), has_head=has_head, provenance=provenance)
