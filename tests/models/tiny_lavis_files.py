"""Files in the forms of LAVIS's: a small checkpoint of pre-training, and BERT's vocabulary with a token a letter."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import NamedTuple

SIZE, WIDTH = 32, 32
VISION = {"embed_dim": WIDTH, "depth": 2, "num_heads": 2}
TEXT = {
    "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "encoder_width": WIDTH, "max_position_embeddings": 64,
}  # fmt: skip
FUSION = {"blip": {}, "albef": {"fusion_layer": 1, "num_hidden_layers": 7}}  # the decoder begins as the last six layers


class Made(NamedTuple):
    """Overrides: where the files are, and of which sizes."""

    paths: list[str]
    sizes: list[str]


def vocabulary(folder: Path) -> None:
    """Write vocab.txt: BERT's special tokens, letters, digits and signs, alone and within a word."""
    marks = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *marks, *(f"##{mark}" for mark in marks)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def text_sizes(kind: str, vocabulary_size: int = 160) -> dict:
    """Sizes of the text models, as `backbone.sizes.text` takes them."""
    return {**TEXT, **FUSION[kind], "vocab_size": vocabulary_size}


def published(kind: str, module) -> dict:
    """The tensors of `module` as a checkpoint of pre-training has them, with what it holds besides."""
    import torch

    state = module.state_dict()
    if kind == "albef":  # its text encoder lies below `bert`, with a head for masked words, and there is no decoder
        heads = {f"text_encoder.cls.{k.partition('.cls.')[2]}": v for k, v in state.items() if ".cls." in k}
        rows = {k: v for k, v in state.items() if not k.startswith("text_decoder.")}
        state = {k.replace("text_encoder.", "text_encoder.bert."): v for k, v in rows.items()} | heads
        state["text_encoder.bert.embeddings.token_type_embeddings.weight"] = torch.zeros(2, WIDTH)
    besides = {"visual_encoder_m.norm.bias": torch.zeros(WIDTH), "itm_head.weight": torch.zeros(2, WIDTH)}
    return {**state, **besides, "temp": torch.tensor(0.07), "image_queue": torch.zeros(4, 4)}


def make(backbone: str, folder: Path, pixels: int = 48) -> Made:
    """A checkpoint of pre-training with pictures of `pixels`, and a vocabulary, in `folder`."""
    import torch

    from digrap.models import lavis

    kind = backbone.removesuffix("_vqa")
    vocabulary(folder)
    text = {**lavis.text_sizes(kind), **text_sizes(kind)}
    torch.manual_seed(0)
    module = lavis.make_module(kind, {"img_size": pixels, **lavis.VISION, **VISION}, text, lavis.DECODER_LAYERS)
    torch.save({"model": published(kind, module)}, folder / "model.pth")
    sizes = json.dumps({"vision": VISION, "text": text_sizes(kind)}).replace('"', "").replace(" ", "")
    return Made(
        [f"backbone.weights={folder / 'model.pth'}", f"backbone.tokenizer={folder}"],
        [f"backbone.image_size={SIZE}", f"backbone.sizes={sizes}"],
    )
