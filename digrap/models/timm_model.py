"""Any of timm's image classifiers, with a fresh head for the classes at hand."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import timm.data
import timm.models
import torch
from timm.data.transforms import str_to_interp_mode
from torch import nn
from torchvision.transforms import v2

from digrap.core.errors import DigrapError
from digrap.models.backbone import Backbone, first_line

MEND = "give backbone.weights=<file> or backbone.pretrained=false"


def timm_backbone(
    num_classes: int,
    model: str,
    pretrained: bool = True,
    weights: str | Path | None = None,
    image_size: int | None = None,
    **_: Any,
) -> Backbone:
    """timm's `model` with a fresh, unanchored head; PIL images in, float (N, num_classes) logits out.

    Weights come from the file `weights` (safetensors or torch, of any number of classes), else by name from timm's
    cache or the hub; `pretrained=False` leaves them random. `image_size` (pixels a side) replaces the model's own.
    Raises DigrapError for a name timm does not know or has no weights for, weights that cannot be fetched or read or
    do not fit, and an image size the model does not take.
    """
    known = _known(model, needs_weights=pretrained and weights is None)
    # num_classes -1 is no number a head can have: timm then drops the file's head even where the numbers agree.
    options: dict[str, Any] = {"num_classes": num_classes, "pretrained_cfg_overlay": {"num_classes": -1}}
    if image_size is not None:
        _check_image_size(image_size)
        if known is not None and known.fixed_input_size:
            options["img_size"] = image_size
    if pretrained and weights is not None:
        module = _from_file(model, Path(weights).expanduser(), options)
    else:
        module = _from_timm(model, pretrained, image_size, options)
    head = _head(module, model)
    if image_size is not None:
        _probe(module, model, image_size)
    train, evaluate, batch = _transforms(module, image_size)
    fresh = tuple(name for name, _ in module.named_parameters() if name.startswith(tuple(f"{part}." for part in head)))
    return Backbone(module, batch, train, evaluate, unanchored=fresh, head=head, has_head=False)


def _known(model: str, needs_weights: bool) -> Any:
    """timm's own description of a model name; None for one with a source (hf-hub:…), which timm looks up itself."""
    if ":" in model:
        return None
    if not timm.is_model(model):
        raise DigrapError(f"backbone.model={model}: timm has no such model; {_near(model, timm.list_models())}")
    try:
        known = timm.models.get_pretrained_cfg(model)
    except RuntimeError as error:  # the tag after the dot
        names = [name for name in timm.list_pretrained() if name.split(".")[0] == model.split(".")[0]]
        raise DigrapError(f"backbone.model={model}: timm has no such weights; {_near(model, names)}") from error
    if needs_weights and not (known and known.has_weights):
        raise DigrapError(
            f"backbone.model={model}: timm has no pre-trained weights for it; {MEND}, or take another model "
            f"({_near(model, timm.list_models(pretrained=True))})"
        )
    return known


def _near(name: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5) or choices[:3]
    if not near:
        return "timm has none of that name"
    return f"nearest: {', '.join(near)}"


def _check_image_size(image_size: Any) -> None:
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
        raise DigrapError(
            f"backbone.image_size={image_size}: give a whole number of pixels, or null for the model's own"
        )


def _from_timm(model: str, pretrained: bool, image_size: int | None, options: dict[str, Any]) -> nn.Module:
    """The model with random weights, or with those timm knows under its name."""
    try:
        return timm.create_model(model, pretrained=pretrained, **options)
    except (AssertionError, TypeError, ValueError) as error:  # the model's own constructor objects
        size = "" if image_size is None else f" backbone.image_size={image_size}"
        raise DigrapError(f"backbone.model={model}{size}: timm cannot build it ({first_line(error)})") from error
    except Exception as error:  # torch.hub, huggingface_hub and its http library each have their own
        raise DigrapError(
            f"backbone.model={model}: its weights are not in the cache and could not be fetched "
            f"({first_line(error)}); mend the network, or {MEND}"
        ) from error


def _from_file(model: str, path: Path, options: dict[str, Any]) -> nn.Module:
    """The model with a file's weights, put through timm's own conversion for that model; the file's head is dropped."""
    if not path.is_file():
        raise DigrapError(f"backbone.weights={path}: there is no such file; null takes timm's own weights")
    try:
        timm.models.load_state_dict(path)
    except Exception as error:  # safetensors, pickle, zip and torch each have their own
        reason = first_line(error)
        raise DigrapError(f"backbone.weights={path}: not a readable safetensors or torch file ({reason})") from error
    options["pretrained_cfg_overlay"] |= {"file": str(path), "source": None}
    mend = f"give the backbone.model that the file was made with (now {model})"
    try:
        with _load_results() as results:
            module = timm.create_model(model, pretrained=True, **options)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
        raise DigrapError(f"backbone.weights={path}: the weights do not fit: {reason}; {mend}") from error
    head = tuple(f"{name}." for name in _head(module, model))
    missing = [name for result in results for name in result.missing_keys if not name.startswith(head)]
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise DigrapError(
            f"backbone.weights={path}: {len(missing)} of the model's tensors are not in it ({shown}); {mend}"
        )
    return module


@contextlib.contextmanager
def _load_results() -> Iterator[list[Any]]:
    """What load_state_dict answers in the meantime: with a new head timm loads loosely and keeps the answer."""
    load, results = nn.Module.load_state_dict, []

    def listening(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        results.append(load(self, *args, **kwargs))
        return results[-1]

    nn.Module.load_state_dict = listening
    try:
        yield results
    finally:
        nn.Module.load_state_dict = load


def _head(module: nn.Module, model: str) -> tuple[str, ...]:
    """Names of the classifier's modules: several where a model averages two heads."""
    named = module.pretrained_cfg.get("classifier") or ()
    named = (named,) if isinstance(named, str) else tuple(named)
    holders = {name.rpartition(".")[0] for name, _ in module.named_parameters()}
    head = tuple(part for part in named if any(name == part or name.startswith(part + ".") for name in holders))
    if not head:
        raise DigrapError(f"backbone.model={model}: timm names no classification head in it; take another model")
    return head


def _probe(module: nn.Module, model: str, image_size: int) -> None:
    """One black picture through the model: an image size it cannot take is met here, not in the first step."""
    module.eval()
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise DigrapError(
            f"backbone.image_size={image_size}: {model} does not take it ({first_line(error)}); "
            "give another, or null for the model's own"
        ) from error
    module.train()


def _transforms(module: nn.Module, image_size: int | None) -> tuple[Any, Any, Any]:
    """(train, eval) from PIL to uint8 (3, H, W), and the batch's uint8 → normalised float.

    Training crops are torchvision's: they draw from torch's generator, which the engine seeds by example; timm's own
    draw from Python's. The eval transform is timm's, less the normalisation.
    """
    config = timm.data.resolve_model_data_config(module, {} if image_size is None else {"img_size": image_size})
    interpolation = str_to_interp_mode(config["interpolation"])
    train = v2.Compose(
        [
            v2.RandomResizedCrop(config["input_size"][1:], interpolation=interpolation),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
        ]
    )
    batch = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(config["mean"], config["std"])])
    return train, timm.data.create_transform(**config, is_training=False, normalize=False), batch
