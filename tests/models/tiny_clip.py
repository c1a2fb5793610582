"""Tiny models of open_clip for tests: known by name with both kinds of GELU, and a text tower with random weights."""

import json

import numpy as np
import open_clip
import safetensors.torch
import torch
from open_clip import factory, pretrained
from torch import nn

TOWER = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    "custom_text": True,  # as EVA01-g-14 is
}


def make_known(config, folder, monkeypatch):
    """Make `tiny` and `tiny-quickgelu` of this config models of open_clip until the test ends."""
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    folder.mkdir()
    for name, quick in (("tiny", False), ("tiny-quickgelu", True)):
        (folder / f"{name}.json").write_text(json.dumps(config | {"quick_gelu": quick}))
    open_clip.add_model_config(folder)


def make_tower(folder, monkeypatch):
    """Make `tiny` a model of open_clip until the test ends; returns a file of random weights, also its tag `random`."""
    make_known(TOWER, folder / "configs", monkeypatch)
    torch.manual_seed(1)
    model = open_clip.create_model("tiny")
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(value, std=0.1)
    nn.init.normal_(model.text.token_embedding.weight, std=1.0)  # words matter beside positions
    path = folder / "tiny.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    for name in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(pretrained._PRETRAINED, name, {"random": {"file": str(path), "quick_gelu": False}})
    return path


def slowly(path):
    """A function: one text's embedding at length 1, in float64 after the tower."""
    model = open_clip.create_model("tiny", pretrained=str(path)).eval()
    tokenizer = open_clip.get_tokenizer("tiny")

    @torch.no_grad()
    def embed(text):
        found = model.encode_text(tokenizer([text]))[0].double().numpy()
        return found / np.sqrt((found**2).sum())

    return embed
