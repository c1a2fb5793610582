"""ClipMatch: an answer in free text counts as the class whose name open_clip's text tower puts nearest to it.

After open-ended VQA (Ging et al. 2024) as the authors use it: a class is the mean, over OpenAI's ImageNet templates, of
the embeddings of its prompts, each of length 1; the mean itself is not normalised. An answer is the embedding of its
text alone. Nearest is by cosine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import nn

from digrap.core.errors import DigrapError, first_line
from digrap.core.files import sha256
from digrap.core.progress import track
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
from digrap.models.weights import WeightFile

log = logging.getLogger(__name__)
MODEL, WEIGHTS = "EVA01-g-14", "laion400m_s11b_b41k"
TEMPLATES = open_clip.OPENAI_IMAGENET_TEMPLATES
OPTIONS = Options(
    model="clip_model",
    tag="clip_weights",
    file="clip_weights",
    offline="give clip_weights=FILE, fetched elsewhere, or clip=false for the metrics that need no model",
)


@dataclass
class TextTower:
    """Texts → embeddings of length 1. `provenance` names the model, the weights and their sha256."""

    network: nn.Module
    tokenizer: Any
    device: torch.device
    batch_size: int = 256
    provenance: dict[str, str] = field(default_factory=dict)

    def embed(self, texts: Sequence[str], description: str = "embedding texts") -> np.ndarray:
        """Float32 (len(texts), width) in the texts' order; equal ones are embedded once.

        A text longer than the model's context is truncated. "" is embedded as start and end tokens alone: it
        has a nearest class like any other text.
        """
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        each = list(distinct)
        starts = range(0, len(each), self.batch_size)
        batches = [
            self._batch(each[start : start + self.batch_size]) for start in track(starts, description, unit="batches")
        ]
        return np.concatenate(batches)[[distinct[text] for text in texts]]

    @torch.no_grad()
    def _batch(self, texts: list[str]) -> np.ndarray:
        tokens = self.tokenizer(texts).to(self.device)
        return self.network.encode_text(tokens, normalize=True).float().cpu().numpy()


def class_embeddings(tower: TextTower, names: Sequence[str], cache: Path | None = None) -> np.ndarray:
    """Float32 (len(names), width): for each class the mean over `TEMPLATES`, at most of length 1.

    `cache` is a folder that keeps them, one file for each model, weights and prompts: without a GPU the default model
    needs an hour for DomainNet's classes.
    """
    prompts = [template(name) for name in names for template in TEMPLATES]

    def make() -> np.ndarray:
        found = tower.embed(prompts, description="embedding class names")
        return found.reshape(len(names), len(TEMPLATES), -1).mean(axis=1)

    of = [tower.provenance.get("model"), tower.provenance.get("sha256"), prompts]
    return kept_array(cache and Path(cache), "classes", of, make)


def load_text_tower(
    model: str = MODEL,
    weights: str | Path = WEIGHTS,
    device: str = "auto",
    batch_size: int = 256,
    options: Options = OPTIONS,
) -> TextTower:
    """open_clip's `model` without its image tower. `weights` is one of open_clip's tags for it, or a file.

    A tag's file comes from the hub's cache or the hub. `device` auto is CUDA where there is a GPU. torch's random
    numbers stay as they are. `options` are names for messages. Raises DigrapError for a model, weights or device that
    do not exist, and for files that are damaged or of another model.
    """
    where = _device(device)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise DigrapError(f"batch_size={batch_size}: give a whole number of at least 1")
    file = find_text_tower(model, weights, options)
    with torch.random.fork_rng(devices=[]):  # open_clip draws weights before it reads them
        network = build(model, file, options).eval()
    del network.visual  # nine tenths of the default model
    provenance = {"model": model, "weights": Path(weights).name, "sha256": sha256(file.path)}
    tokenizer = tokenizer_of(model, options)
    return TextTower(network.requires_grad_(False).to(where), tokenizer, where, batch_size, provenance)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise DigrapError(
            f"device={name}: not available on this machine ({first_line(error)}); device=auto uses what is there"
        ) from error


def find_text_tower(model: str, weights: str | Path, options: Options = OPTIONS) -> WeightFile:
    """The file of one of open_clip's tags for `model`, fetched where the cache lacks it, or the file that `weights`
    names; nothing is loaded. Raises DigrapError where there is none."""
    check_model(model, options)
    if known := known_weights(model, str(weights), options):
        log.info("%s: loading the weights %s from the cache or the hub", model, weights)
        return weight_file(fetched(known, model, str(weights), options), options)
    if not Path(weights).expanduser().is_file():
        raise DigrapError(
            f"{options.file}={weights}: neither a file nor a tag of {model} (it has: {tags_of(model)}); "
            f"{options.offline}"
        )
    log.info("%s: assumed to be weights of %s trained with %s", weights, model, activation(model))
    return weight_file(weights, options)
