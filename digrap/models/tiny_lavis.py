"""Tiny BLIP and ALBEF: LAVIS's own classes of about 1 M parameters, for minivqa's words and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers.processors import TemplateProcessing
from torch import nn

from digrap.models.backbone import Backbone
from digrap.models.lavis import backbone_of, check_installed, make_module
from digrap.models.lavis_answering import LavisAnswering
from digrap.models.lavis_files import read_answers
from digrap.models.tiny_processor import BOS, EOS, IMAGE, PAD, VOCABULARY, check_known, make_tokenizer, pixels
from digrap.models.tiny_vlm import PATCH, SIZE, SPREAD, load_tiny
from digrap.models.weights import random_weights

WIDTH, HEADS, LENGTH = 112, 4, 64  # LENGTH: tokens of a question or an answer
VISION = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": 2, "num_heads": HEADS, "mlp_ratio": 2.0}
TEXT = {
    "vocab_size": len(VOCABULARY), "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS,
    "intermediate_size": 2 * WIDTH, "max_position_embeddings": LENGTH, "pad_token_id": VOCABULARY.index(PAD),
    "encoder_width": WIDTH, "add_cross_attention": True, "add_type_embeddings": False, "initializer_range": SPREAD,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
FUSION = {"blip": {}, "albef": {"fusion_layer": 1}}  # ALBEF's first encoder layer does not see the picture
DECODER_LAYERS = 1  # of ALBEF


def tokenizer() -> Any:
    """The tiny models' tokenizer with the form of BERT's: a token in front, the end token behind, padding on the right.

    <image> marks a question's beginning, as BLIP's [ENC], and <bos> an answer's, as its [DEC] and ALBEF's [CLS].
    """
    made = make_tokenizer()
    ends = [(token, VOCABULARY.index(token)) for token in (BOS, EOS)]
    made.backend_tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A {EOS}", special_tokens=ends)
    made.padding_side, made.sep_token = "right", EOS
    return made


def _tiny(
    kind: str,
    num_classes: int = 0,
    classes: Sequence[str] = (),
    *,
    pretrained: bool = True,
    weights: str | Path | None = None,
    answers: str | None = None,
    candidates: int = 128,
    distill: bool = False,
) -> Backbone:
    """A tiny model of a `kind` (blip, albef). Classes are not used: it answers in words.

    `pretrained=False` leaves all weights as torch's generator made them. `weights` is a file of the model's weights
    (None: the shipped one). For the rest see `digrap.models.lavis`. Raises DigrapError where LAVIS is not installed,
    the weights are missing, damaged or do not fit, and for an option that is out of range.
    """
    name = f"tiny_{kind}"
    check_installed(name)
    listed = read_answers(answers, candidates)
    if listed is not None:
        check_known(listed)
    module = make_module(kind, VISION, {**TEXT, **FUSION[kind]}, DECODER_LAYERS, distill)
    module.use_tokenizer(tokenizer(), IMAGE)
    _spread(module.visual_encoder)
    provenance = load_tiny(name, module, weights) if pretrained else random_weights()
    if distill:
        module.copy_params()
    answering = LavisAnswering(tokenizer, partial(pixels, size=SIZE), listed, candidates, LENGTH, check_known)
    return backbone_of(module, answering, pretrained, provenance)


tiny_blip = partial(_tiny, "blip")
tiny_albef = partial(_tiny, "albef")
"""The builders that the configs name; see `_tiny`."""


def _spread(vision: nn.Module) -> None:
    """Draw new values for the matrices, with the standard deviation that suits their width: LAVIS's is for large
    ones."""
    for param in vision.parameters():
        if param.ndim == 2:
            nn.init.normal_(param, std=SPREAD)
