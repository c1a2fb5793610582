"""BLIP and ALBEF for visual question answering: salesforce-lavis's own classes, with weights in the library's files."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from digrap.core.errors import DigrapError, nearest
from digrap.models.backbone import Backbone, check_image_size
from digrap.models.lavis_answering import LavisAnswering, pixels_of
from digrap.models.lavis_files import bert_tokenizer, load_checkpoint, read_answers, weight_file
from digrap.models.weights import Provenance, random_weights

PACKAGES = {"lavis": "salesforce-lavis==1.0.2", "iopath": "iopath", "portalocker": "portalocker"}
# Of the decoder; its parent has the bias under a second name, which a probed head must not train.
HEAD = ("text_decoder.cls.predictions.transform", "text_decoder.cls.predictions.decoder")
ENC = "[ENC]"
START = {"blip": "[DEC]", "albef": "[CLS]"}  # the first token of an answer
FILES = {"blip": "med_config.json", "albef": "med_config_albef.json"}  # of the library: its text models' sizes
VISION = {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}  # ViT-B/16, as the library builds it
DROP_PATH = {"blip": 0.1, "albef": 0.0}
MAX_TOKENS = {"blip": 35, "albef": 25}  # of a question
DECODER_LAYERS = 6  # of ALBEF


def check_installed(backbone: str) -> None:
    """Raise DigrapError where salesforce-lavis, or what it is imported with, is not installed."""
    if missing := [needed for name, needed in PACKAGES.items() if importlib.util.find_spec(name) is None]:
        command = shlex.join([sys.executable, "-m", "pip", "install", "--no-deps", *missing])
        raise DigrapError(
            f"backbone={backbone}: {', '.join(missing)}: not installed; `{command}` installs what is missing "
            "(--no-deps, as its requirements are those of 2022), or give another backbone"
        )


def _lavis(
    kind: str,
    num_classes: int = 0,
    classes: Sequence[str] = (),
    *,
    url: str,
    folder: str,
    tokenizer: str,
    pretrained: bool = True,
    weights: str | None = None,
    image_size: int = 480,
    answers: str | None = None,
    candidates: int = 128,
    distill: bool = False,
    sizes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Backbone:
    """LAVIS's model of a `kind` (blip, albef); classes are not used: it answers in words.

    `weights` is a checkpoint of the library, None that of `url`, kept in `folder`; `pretrained=False` leaves random
    ones. `tokenizer`: a folder with BERT's vocab.txt, or a name on the hub. An answer is generated, or with `answers`,
    a file with a JSON list, the likeliest of these, among the `candidates` whose first tokens are likeliest. `distill`:
    ALBEF's momentum twins. `sizes` {vision, text} changes the library's. Raises DigrapError where the package, a file
    or the tokenizer is missing, a checkpoint does not fit, and for an option that is out of range.
    """
    name = f"{kind}_vqa"
    check_installed(name)
    check_image_size(image_size, default=False)
    listed, sizes = read_answers(answers, candidates), _checked(sizes)
    make_tokenizer = partial(bert_tokenizer, tokenizer, START[kind], *([ENC] if kind == "blip" else []))
    file = weight_file(weights, url, folder) if pretrained else None
    ready = make_tokenizer()
    vision = {"img_size": image_size, "drop_path_rate": DROP_PATH[kind], **VISION, **sizes.get("vision", {})}
    module = make_module(kind, vision, {**text_sizes(kind), **sizes.get("text", {})}, DECODER_LAYERS, distill)
    module.use_tokenizer(ready, ENC)
    provenance = random_weights()
    if file is not None:
        load_checkpoint(file, module)
        provenance = file.provenance("salesforce/LAVIS" if weights is None else "file", model=name)
    answering = LavisAnswering(make_tokenizer, pixels_of(image_size), listed, candidates, MAX_TOKENS[kind])
    return backbone_of(module, answering, pretrained, provenance)


def find_weights(url: str, folder: str, pretrained: bool = True, weights: str | None = None) -> None:
    """Find or fetch the file of weights. Raises DigrapError as the backbones where it cannot be had."""
    if pretrained:
        weight_file(weights, url, folder)


blip_vqa = partial(_lavis, "blip")
albef_vqa = partial(_lavis, "albef")
"""The builders that the configs name; see `_lavis`."""


def backbone_of(module: nn.Module, answering: LavisAnswering, pretrained: bool, provenance: Provenance) -> Backbone:
    """The model with what answers its questions; results say so where answers are ranked."""
    listed = answering.answers
    ranked = {} if listed is None else {"ranked": {"answers": len(listed), "candidates": answering.candidates}}
    return Backbone(
        module, None, head=HEAD, has_head=pretrained, answering=answering, provenance=provenance, remarks=ranked
    )


def make_module(
    kind: str, vision: Mapping[str, Any], text: Mapping[str, Any], decoder_layers: int, distill: bool = False
) -> nn.Module:
    """LAVIS's model of a `kind` (blip, albef) with random weights, of the sizes in `vision`, as its ViT takes them, and
    in `text`, as BERT's config does; ALBEF's decoder has layers of its own number. Raises DigrapError for `distill`,
    the momentum twins, with BLIP, which has none."""
    if not isinstance(distill, bool) or (distill and kind == "blip"):
        raise DigrapError(f"backbone.distill={distill}: give false, or true for ALBEF, which alone has momentum twins")
    from transformers import BertConfig

    from digrap.models import lavis_compat as lavis
    from digrap.models.lavis_classes import Albef, Blip

    parts = lavis.VisionTransformerEncoder(**vision), lavis.XBertEncoder(BertConfig(**text), add_pooling_layer=False)
    if kind == "blip":
        return Blip(*parts, lavis.XBertLMHeadDecoder(BertConfig(**text)))
    decoder = BertConfig(**{**text, "fusion_layer": 0, "num_hidden_layers": decoder_layers})
    return Albef(*parts, lavis.BertLMHeadModel(decoder), use_distill=distill)


def text_sizes(kind: str) -> dict[str, Any]:
    """The sizes of the library's text models, as BERT's config takes them."""
    (place,) = importlib.util.find_spec("lavis").submodule_search_locations
    return json.loads((Path(place) / "configs" / "models" / FILES[kind]).read_text("utf-8"))


def _checked(sizes: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    found = dict(sizes or {})
    for part in found:
        if part not in ("vision", "text"):
            raise DigrapError(f"backbone.sizes.{part}: there is no such part; {nearest(part, ('vision', 'text'))}")
    return found
