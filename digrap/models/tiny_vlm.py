"""Tiny PaliGemma and LLaVA: transformers' own classes of at most 1 M parameters, for minivqa's words and scenes.

Pictures have 48 px and are seen in four patches of 24 px: one per cell of a scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import nn
from transformers import (
    CLIPVisionConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    SiglipVisionConfig,
)

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.models.backbone import Backbone
from digrap.models.lora_layers import freeze_unused
from digrap.models.tiny_processor import BOS, EOS, IMAGE, PAD, VOCABULARY, TinyProcessor, check_known
from digrap.models.vlm import VLMAnswering, wants_type_ids
from digrap.models.weights import Provenance, WeightFile, random_weights

SIZE, PATCH, WIDTH, HEADS = 48, 24, 128, 4
IMAGE_TOKENS = (SIZE // PATCH) ** 2
SPREAD = (
    0.06  # standard deviation of random weights; 0.02, for large widths, makes the first hundred steps learn little
)
MAX_LENGTH = 128  # tokens of a picture, a question and an answer
NAMES = ("tiny_paligemma", "tiny_llava", "tiny_blip", "tiny_albef")
WEIGHTS = {name: REPO / "data" / "mini" / f"{name}.safetensors" for name in NAMES}
WEIGHTS_SHA256 = {
    "tiny_paligemma": "c33cd08b69905236ef8852657738e703e4f0a4c4cf2c6b5a91fdd9e040b8d08a",
    "tiny_llava": "c5cc9fc32dfc8ebcc72e36947fa868ccf7137ff8aebd856b5318cfbc7476a10c",
    "tiny_blip": "c387c3f492c0bad3a3941f0cc28ffd2925a789d506c2feca43647178309b4730",
}
"""Of the shipped files; tools/pretrain_minivqa.py prints it. A file of a model that is not named here is as it is."""
RELEASES = {"tiny_paligemma": 2, "tiny_llava": 2}
"""Of the shipped weights, where they are not the first. Configs name it: a run's hash has no digest of the weights."""

_TOKENS = {
    "vocab_size": len(VOCABULARY), "pad_token_id": VOCABULARY.index(PAD), "bos_token_id": VOCABULARY.index(BOS),
    "eos_token_id": VOCABULARY.index(EOS),
}  # fmt: skip
_TEXT = {
    "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": HEADS, "num_key_value_heads": 1,
    "head_dim": WIDTH // HEADS, "max_position_embeddings": MAX_LENGTH, "initializer_range": SPREAD, **_TOKENS,
}  # fmt: skip
_VISION = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "image_size": SIZE, "patch_size": PATCH}


def paligemma_module() -> PaliGemmaForConditionalGeneration:
    """PaliGemma with 2 vision and 3 language layers of width 128, random weights; lm_head is tied to the embedding."""
    vision = SiglipVisionConfig(**_VISION, num_hidden_layers=2, intermediate_size=256, vision_use_head=False)
    text = GemmaConfig(**_TEXT, intermediate_size=256)
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, projection_dim=WIDTH, image_token_index=VOCABULARY.index(IMAGE),
        tie_word_embeddings=True,
    )  # fmt: skip
    return PaliGemmaForConditionalGeneration(config)


def llava_module() -> LlavaForConditionalGeneration:
    """LLaVA with 3 vision layers, the last without use as in the real one, and 3 language layers of width 128, random
    weights; lm_head has weights of its own."""
    vision = CLIPVisionConfig(**_VISION, num_hidden_layers=3, intermediate_size=128)
    text = LlamaConfig(**_TEXT, intermediate_size=192)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=VOCABULARY.index(IMAGE),
        image_seq_length=IMAGE_TOKENS, vision_feature_layer=-2, vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config)


def _tiny(
    name: str,
    make_module: Callable[[], nn.Module],
    num_classes: int = 0,
    classes: Sequence[str] = (),
    *,
    prompt: str,
    train_prompt: str | None = None,
    pretrained: bool = True,
    weights: str | Path | None = None,
    release: int = 1,
) -> Backbone:
    """A tiny model with its processor. Classes are not used: it answers in words.

    `pretrained=False` leaves all weights as torch's generator made them. `weights` is a file of the model's weights
    (None: the shipped one, which must be of `release`). Prompts: see `digrap.models.vlm`. Raises DigrapError where the
    weights are missing, damaged, of another release or do not fit, and for a prompt without the picture's place.
    """
    for option, template in {"prompt": prompt, "train_prompt": train_prompt}.items():
        if template is not None and str(template).count(IMAGE) != 1:
            raise DigrapError(f"backbone.{option}={template!r}: give a text that has {IMAGE} once, the picture's place")
    module = make_module()
    provenance = load_tiny(name, module, weights, release) if pretrained else random_weights()
    freeze_unused(module)
    processor = partial(TinyProcessor, SIZE, IMAGE_TOKENS)
    answering = VLMAnswering(processor, prompt, wants_type_ids(module), train_prompt, check_answers=check_known)
    return Backbone(module, None, head=("lm_head",), has_head=pretrained, answering=answering, provenance=provenance)


tiny_paligemma = partial(_tiny, "tiny_paligemma", paligemma_module)
tiny_llava = partial(_tiny, "tiny_llava", llava_module)
"""The builders that the configs name; see `_tiny`."""


def load_tiny(name: str, module: nn.Module, weights: str | Path | None, release: int = 1) -> Provenance:
    """Load the file `weights` (None: the shipped one) into the tiny model of this name; which weights it has now.

    Raises DigrapError where they are missing, damaged or do not fit, or are shipped and of another release.
    """
    file = _weight_file(name, weights)
    if _is_shipped(name, file) and release != (shipped := RELEASES.get(name, 1)):
        raise DigrapError(
            f"backbone.release={release}: the shipped {name} is release {shipped}, other weights; leave the option "
            f"out, and make a run of release {release} again, or give that release's file as backbone.weights=FILE"
        )
    file.load_into(module)
    return file.provenance(f"data/mini/{name}.safetensors" if _is_shipped(name, file) else "file")


def _weight_file(name: str, weights: str | Path | None) -> WeightFile:
    """The file of a model's weights. Raises DigrapError where it is missing, or the shipped one damaged."""
    path = Path(WEIGHTS[name] if weights is None else weights)
    if path.expanduser().resolve() != WEIGHTS[name]:
        get = "give a file of such a model's weights, or leave backbone.weights out for the project's"
    elif name in WEIGHTS_SHA256:
        get = f"`git checkout -- data/mini/{name}.safetensors` restores the shipped weights"
    else:
        get = f"`python tools/pretrain_minivqa.py model={name}` makes them"
    file = WeightFile.find(path, f"{get}; backbone.pretrained=false uses random ones")
    if _is_shipped(name, file):
        file.check_shipped(WEIGHTS_SHA256[name])
    return file


def _is_shipped(name: str, file: WeightFile) -> bool:
    return name in WEIGHTS_SHA256 and file.path.resolve() == WEIGHTS[name]
