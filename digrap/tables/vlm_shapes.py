"""PaliGemma and LLaVA by their shapes alone: parameters, layers that take adapters, and what a step keeps in memory.

Bytes are those of weights in half precision with adapters in float32, as `backbone.dtype=bf16` and `peft=lora` have
them. Without torch; tests hold every count to the real models without weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HALF, SINGLE = 2, 4  # bytes of a number
# What transformers takes where a model's config.json says nothing.
DEFAULTS: dict[str, dict[str, int | None]] = {
    "siglip_vision_model": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                            "num_attention_heads": 12, "image_size": 224, "patch_size": 16},
    "clip_vision_model": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                          "num_attention_heads": 12, "image_size": 224, "patch_size": 32},
    "gemma": {"hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
              "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256000},
    "llama": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
              "num_key_value_heads": None, "head_dim": None, "vocab_size": 32000},
}  # fmt: skip
PALIGEMMA = {
    "model_type": "paligemma",
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
                      "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 14},
    "text_config": {"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
                    "num_attention_heads": 8, "num_key_value_heads": 1, "vocab_size": 257216},
}  # fmt: skip
LLAVA = {
    "model_type": "llava",
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
                      "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14},
    "text_config": {"model_type": "llama", "vocab_size": 32064},
    "vision_feature_layer": -2,
}  # fmt: skip


@dataclass(frozen=True)
class Vision:
    """A vision tower: widths, layers, heads, and `places`, the sequence that its layers see of `patches` patches."""

    width: int
    inner: int
    layers: int
    heads: int
    patch: int
    patches: int
    clip: bool  # CLIP has a class token and a norm more, no bias of patches, and QuickGELU

    @property
    def places(self) -> int:
        return self.patches + self.clip


@dataclass(frozen=True)
class Text:
    """A language model: widths, layers, heads and vocabulary."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int


@dataclass(frozen=True)
class Shapes:
    """A vision-language model. `used` of its vision layers give the features that the language model gets."""

    vision: Vision
    text: Text
    used: int
    tied: bool  # the head is the embedding

    def layers(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Part → last part of a linear layer's name → its input's and output's width, of one layer of the part."""
        v, t = self.vision, self.text
        query, key = t.heads * t.head, t.kv_heads * t.head
        square = dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), (v.width, v.width))
        return {
            "vision": {**square, "fc1": (v.width, v.inner), "fc2": (v.inner, v.width)},
            "text": {
                "q_proj": (t.width, query), "k_proj": (t.width, key), "v_proj": (t.width, key),
                "o_proj": (query, t.width), "gate_proj": (t.width, t.inner), "up_proj": (t.width, t.inner),
                "down_proj": (t.inner, t.width),
            },
        }  # fmt: skip

    def adapted(self, targets: tuple[str, ...], language: bool = False) -> dict[str, list[tuple[int, int]]]:
        """Part → widths of the linear layers of one of its layers that get adapters."""
        chosen = {
            part: [widths for name, widths in own.items() if name in targets] for part, own in self.layers().items()
        }
        return chosen | ({"vision": []} if language else {})

    def adapters(self, adapted: Mapping[str, list[tuple[int, int]]], r: int) -> int:
        """Parameters of all adapters of rank `r`."""
        counts = {"vision": self.used, "text": self.text.layers}
        return sum(r * counts[part] * sum(map(sum, widths)) for part, widths in adapted.items())

    @property
    def head(self) -> int:
        """Parameters of the head over the vocabulary."""
        return self.text.vocabulary * self.text.width

    def vision_layer(self) -> int:
        """Parameters of one vision layer."""
        return sum(i * o + o for i, o in self.layers()["vision"].values()) + 4 * self.vision.width

    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        v, t = self.vision, self.text
        patches = 3 * v.patch**2 * v.width + (3 * v.width if v.clip else v.width)  # bias, or class token and norm
        tower = patches + v.places * v.width + v.layers * self.vision_layer() + 2 * v.width
        projector = v.width * t.width + t.width + (t.width**2 + t.width if v.clip else 0)
        layer = sum(i * o for i, o in self.layers()["text"].values()) + 2 * t.width
        return tower + projector + t.layers * layer + t.width + self.head * (1 if self.tied else 2)

    def unused(self) -> int:
        """Parameters of the vision layers, and of the norm behind them, whose features nothing takes."""
        left = self.vision.layers - self.used
        return left * self.vision_layer() + (2 * self.vision.width if left else 0)

    def vision_kept(self, adapted: list[tuple[int, int]] | None, r: int, plain: bool) -> int:
        """Bytes that one vision layer keeps of one picture; for `adapted` and `plain` see `kept`."""
        v = self.vision
        numbers = v.places * v.width
        gelu = HALF * v.places * v.inner * (2 if v.clip else 1)
        norms = 2 * HALF * numbers + 4 * SINGLE * v.places
        inputs = HALF * (3 * numbers + v.places * v.inner)
        return (
            _attention(v.places, v.heads, v.width, plain)
            + gelu
            + norms
            + (inputs if adapted is None else _of_adapters(v.places, adapted, r, plain))
        )

    def text_kept(self, length: int, adapted: list[tuple[int, int]] | None, r: int, plain: bool) -> int:
        """The same of one layer of the language model, with `length` tokens."""
        t = self.text
        numbers, query = length * t.width, length * t.heads * t.head
        norms = 2 * SINGLE * numbers + 2 * SINGLE * length
        if adapted is None:
            norms += 2 * (SINGLE if self.tied else HALF) * numbers  # Gemma scales in float32, Llama after
            more = HALF * (2 * numbers + query + length * t.inner)
        else:
            more = _of_adapters(length, adapted, r, plain)
        return _attention(length, t.heads, t.heads * t.head, plain) + norms + 3 * HALF * length * t.inner + more

    def kept(
        self, length: int, answer: int, adapted: Mapping[str, list[tuple[int, int]]] | None, r: int = 0,
        plain: bool = False,
    ) -> dict[str, int]:  # fmt: skip
        """Bytes that a forward pass keeps of one example for the backward pass: of `layers`, of the largest one
        (`layer`), of the layers' `inputs` alone (all that gradient checkpointing keeps), and of the `logits`.

        `length` tokens with the picture's, `answer` of them with logits. `adapted` as `Shapes.adapted`, None for full
        fine-tuning. `plain`: attention keeps its weights, and dropout its mask as numbers, as plain operations do and
        the kernels of a GPU do not.
        """
        t, v = self.text, self.vision
        seen = adapted is None or bool(adapted["vision"])  # whether a gradient reaches the vision tower
        vision = self.vision_kept(None if adapted is None else adapted["vision"], r, plain) if seen else 0
        text = self.text_kept(length, None if adapted is None else adapted["text"], r, plain)
        projector = HALF * v.patches * t.width if v.clip and seen else 0
        inputs = self.used * HALF * v.places * v.width * seen + t.layers * HALF * length * t.width
        return {
            "layers": self.used * vision + t.layers * text + projector + SINGLE * length * t.width,
            "layer": max(vision, text),
            "inputs": inputs + projector,
            "logits": SINGLE * answer * t.vocabulary,
        }

    def cache(self, length: int) -> int:
        """Bytes of one beam's keys and values over `length` tokens."""
        t = self.text
        return 2 * HALF * t.layers * t.kv_heads * t.head * length


def _attention(length: int, heads: int, width: int, plain: bool) -> int:
    """Queries, keys and values with the weights, in float32; of a kernel the result and one number per row instead."""
    if plain:
        return 3 * SINGLE * length * width + SINGLE * heads * length**2
    return 4 * HALF * length * width + SINGLE * heads * length


def _of_adapters(length: int, adapted: list[tuple[int, int]], r: int, plain: bool) -> int:
    """The adapters' inputs after dropout in float32, its mask, and what the first factor gives."""
    return sum(length * (given * (SINGLE + (SINGLE if plain else 1)) + SINGLE * r) for given, _ in adapted)


def shapes_of(config: Mapping[str, Any]) -> Shapes | None:
    """The shapes in a config.json of transformers; None for a model that is neither PaliGemma nor LLaVA over a CLIP
    and a Llama."""
    parts = {part: dict(config.get(f"{part}_config") or {}) for part in ("vision", "text")}
    kinds = tuple(parts[part].get("model_type") for part in ("vision", "text"))
    if (config.get("model_type"), *kinds) not in (
        ("paligemma", "siglip_vision_model", "gemma"), ("llava", "clip_vision_model", "llama"),
    ):  # fmt: skip
        return None
    seen, said = ({**DEFAULTS[kind], **parts[part]} for part, kind in zip(parts, kinds, strict=True))
    clip = kinds[0] == "clip_vision_model"
    width, heads, count = said["hidden_size"], said["num_attention_heads"], seen["num_hidden_layers"]
    taken = config.get("vision_feature_layer", -2) if clip else count
    if not isinstance(taken, int):
        return None
    vision = Vision(
        seen["hidden_size"], seen["intermediate_size"], count, seen["num_attention_heads"], seen["patch_size"],
        (seen["image_size"] // seen["patch_size"]) ** 2, clip,
    )  # fmt: skip
    text = Text(
        width, said["intermediate_size"], said["num_hidden_layers"], heads, said["num_key_value_heads"] or heads,
        said["head_dim"] or width // heads, said["vocab_size"],
    )  # fmt: skip
    return Shapes(vision, text, taken if taken >= 0 else count + 1 + taken, tied=not clip)


def shapes_of_model(model: str) -> Shapes | None:
    """The shapes of a model by its folder or its name on the hub; None where they are not at hand."""
    file = Path(model).expanduser() / "config.json"
    if file.is_file():
        try:
            return shapes_of(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
    if found := re.fullmatch(r"google/paligemma-3b-(?:pt|mix)-(\d+)", model):
        vision = {**PALIGEMMA["vision_config"], "image_size": int(found[1])}
        return shapes_of({**PALIGEMMA, "vision_config": vision})
    return shapes_of(LLAVA) if model == "llava-hf/llava-1.5-7b-hf" else None
