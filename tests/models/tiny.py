"""What tests of the tiny vision-language models share: both of them with decided random weights, and inputs."""

import torch
from omegaconf import OmegaConf
from PIL import Image

from digrap.core.paths import CONFIGS
from digrap.engine.build import DESCRIPTIVE
from digrap.methods.trained import untie
from digrap.models import tiny_vlm
from digrap.models.backbone import Decoding

GREEDY = Decoding()
NAMES = ("tiny_paligemma", "tiny_llava")
QUESTIONS = ("How many symbols are there?", "what color is this ?", "is it red ?", "which one of the symbols can fly ?")
ANSWERS = ("2", "red", "no", "blue sun , none")


def options(name):
    """The backbone's options in its config."""
    plain = OmegaConf.to_container(OmegaConf.load(CONFIGS / "backbone" / f"{name}.yaml"))
    return {key: value for key, value in plain.items() if key not in (*DESCRIPTIVE, "_target_", "weights")}


def tiny(name, scale=1.0, decoding=GREEDY, **changes):
    """A tiny model with random weights. `scale`: of its matrices; with large ones, and a head that is not the embedding
    (which would repeat the last word), answers differ."""
    torch.manual_seed(0)
    backbone = getattr(tiny_vlm, name)(**{**options(name), "pretrained": False, **changes})
    if scale > 1:
        untie(backbone.module, ["lm_head.weight"])
        torch.nn.init.normal_(backbone.module.lm_head.weight, std=0.02)
    with torch.no_grad():
        for param in backbone.module.parameters():
            if param.ndim > 1:
                param.mul_(scale)
    backbone.module.eval()
    backbone.answering.decoding = decoding
    return backbone


def pictures():
    """Four pictures with noise, 48 px."""
    noise = torch.randint(256, (4, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(picture.numpy()) for picture in noise]
