"""open_clip's models and their weights by tag or file: checked, fetched, built.

Shared by the image backbone (open_clip_model.py) and ClipMatch's text tower (text_tower.py).
"""

from __future__ import annotations

import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import constants
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from torch import nn

from digrap.core.errors import DigrapError, first_line
from digrap.models.backbone import nearest_models
from digrap.models.hub_model import ask, cached_file
from digrap.models.weights import WeightFile, last_line

QUICK = "QuickGELU"
# Size and licence of ClipMatch's weights, for messages.
TERMS = {"timm/eva_giant_patch14_clip_224.laion400m_s11b_b41k": " (2.3 GB, MIT licence)"}


@dataclass(frozen=True)
class Options:
    """Names of the options that choose the model, the weights by tag and the weights by file; all for messages.

    `offline` says what to do without network, `other` what else to do about a file that does not fit.
    """

    model: str
    tag: str
    file: str
    offline: str
    other: str = ""


def check_model(model: str, options: Options) -> None:
    """Raise DigrapError for a model that open_clip does not know."""
    names = open_clip.list_models()
    if model not in names:
        raise DigrapError(f"{options.model}={model}: open_clip has no such model; {nearest_models(model, names)}")


def tags_of(model: str) -> str:
    """open_clip's names of weights of the model, for a message."""
    return ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"


def known_weights(model: str, tag: str, options: Options, own_file: bool = False) -> dict[str, Any] | None:
    """open_clip's description of the weights, None where it has none of that name.

    Raises DigrapError where they were trained with another activation than the model's; open_clip itself only warns.
    The message has one way out more with `own_file`, where a file is given that may be of other weights.
    """
    known = open_clip.get_pretrained_cfg(model, tag)
    if not known:
        return None
    theirs = _activation(known)
    if theirs != activation(model):
        other = f"{model}-quickgelu" if theirs == QUICK else model.removesuffix("-quickgelu")
        own = f", or, where the file has other weights than these, {options.tag}=own" if own_file else ""
        raise DigrapError(
            f"{options.model}={model}: it has {activation(model)}, but {options.tag}={tag} was trained with {theirs}; "
            f"use {options.model}={other}{own}"
        )
    return known


def activation(model: str) -> str:
    """The model's activation by name; of weights that open_clip does not know, it is taken for theirs."""
    return _activation(open_clip.get_model_config(model) or {})


def _activation(config: dict[str, Any]) -> str:
    return QUICK if config.get("quick_gelu") else "GELU"


def fetched(known: dict[str, Any], model: str, tag: str, options: Options) -> Path:
    """The file of weights that open_clip knows, from the local cache or the hub. Raises DigrapError where neither has
    it, after one request: the hub's client itself would try for most of a minute."""
    repository, _, name = known.get("hf_hub", "").rpartition("/")
    files = [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]  # in open_clip's order
    if repository and (found := cached_file(repository, files)):
        return found
    try:
        if repository:
            ask(repository, files)
        return Path(open_clip.download_pretrained(known))
    except Exception as error:  # huggingface_hub, its http library and open_clip have no base class in common
        elsewhere = f", or `{shlex.join(['hf', 'download', repository])}` where there is one" if repository else ""
        raise DigrapError(
            f"{options.model}={model}: the weights {tag}{TERMS.get(repository, '')} are not in the cache "
            f"({constants.HF_HUB_CACHE}) and could not be fetched ({first_line(error)}); restore the "
            f"network{elsewhere}, or {options.offline}"
        ) from error


def weight_file(path: str | Path, options: Options) -> WeightFile:
    """The weights' file, with what to do about it in messages. Raises DigrapError where it does not exist."""
    return WeightFile.find(path, f"give the {options.model} it belongs to{options.other}", options.file)


def build(model: str, file: WeightFile | None, options: Options, image_size: int | None = None) -> nn.Module:
    """The whole CLIP model with a file's weights, or random ones. open_clip loads strictly: every key has its place.

    Raises DigrapError for a model that cannot be built (at that `image_size`), and a file that is damaged or of another
    model.
    """
    try:
        return open_clip.create_model(
            model,
            pretrained=None if file is None else str(file.path),
            force_image_size=image_size,
            weights_only=file is None or not _is_torchscript(file.path),
            pretrained_text=False,
        )
    except Exception as error:  # safetensors, pickle, zip and torch have no base class in common
        if file is None:
            raise DigrapError(f"{options.model}={model}: open_clip cannot build it ({first_line(error)})") from error
        raise file.error(f"not readable, or not weights of {model} ({last_line(error)})") from error


def tokenizer_of(model: str, options: Options) -> Any:
    """The model's tokenizer. Raises DigrapError where it is the hub's and cannot be fetched."""
    try:
        return open_clip.get_tokenizer(model)
    except Exception as error:  # huggingface_hub, transformers and their libraries have no base class in common
        raise DigrapError(
            f"{options.model}={model}: its tokenizer could not be fetched ({first_line(error)}); restore the network, "
            "or use a model with open_clip's own tokenizer"
        ) from error


def _is_torchscript(path: Path) -> bool:
    """Whether torch takes the file for a TorchScript archive (OpenAI's own .pt are), where it runs no pickle."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and f"{names[0].split('/')[0]}/constants.pkl" in names  # as torch decides: in the first folder
