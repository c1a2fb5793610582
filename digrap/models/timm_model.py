"""Any of timm's image classifiers, with a fresh head for the classes at hand."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import timm
import timm.data
import timm.models
import torch
from huggingface_hub import constants
from timm.data.transforms import str_to_interp_mode
from torch import nn
from torchvision.transforms import v2

from digrap.core.errors import DigrapError, first_line, nearest
from digrap.models.backbone import Backbone, check_image_size, nearest_models
from digrap.models.hub_model import ask, cache_alone, cached_file
from digrap.models.weights import Account, Provenance, WeightFile, last_line, random_weights

log = logging.getLogger(__name__)
OTHERWISE = "give backbone.weights=<file> or backbone.pretrained=false"


def timm_backbone(
    num_classes: int,
    model: str,
    classes: Sequence[str] | None = None,
    pretrained: bool = True,
    weights: str | Path | None = None,
    image_size: int | None = None,
) -> Backbone:
    """timm's `model` with a fresh, unanchored head; PIL images in, float (N, num_classes) logits out.

    Weights come from the file `weights` (safetensors or torch, of any number of classes), else by name from timm's
    cache or the hub; `pretrained=False` leaves them random. `image_size` (pixels a side) replaces the model's own. The
    names in `classes` are not used. Raises DigrapError for a name timm does not know or has no weights for, weights
    that cannot be fetched or read or do not fit, and an image size the model does not take.
    """
    known = _known(model, needs_weights=pretrained and weights is None)
    check_image_size(image_size)
    # num_classes -1 is no number a head can have: timm then drops the file's head even where the numbers agree.
    options: dict[str, Any] = {"num_classes": num_classes, "pretrained_cfg_overlay": {"num_classes": -1}}
    if image_size is not None and known is not None and known.fixed_input_size:
        options["img_size"] = image_size
    if not pretrained:
        module, provenance = _from_timm(model, False, image_size, options), random_weights()
    elif weights is not None:
        module, provenance = _from_file(model, weights, options)
    else:
        with _found(model, known):
            module = _from_timm(model, True, image_size, options)
        provenance = _provenance_by_name(module, model)
    head = _head(module, model)
    if image_size is not None:
        _try_size(module, model, image_size)
    train, evaluate, batch = _transforms(module, image_size)
    fresh = tuple(name for name, _ in module.named_parameters() if name.startswith(tuple(f"{part}." for part in head)))
    return Backbone(module, batch, train, evaluate, unanchored=fresh, head=head, has_head=False, provenance=provenance)


def find_weights(model: str, pretrained: bool = True, weights: str | Path | None = None) -> None:
    """Raise DigrapError as `timm_backbone` where the weights are missing; those known by name may still be to fetch."""
    known = _known(model, needs_weights=pretrained and weights is None)
    if pretrained and weights is not None:
        _file(model, weights)
    elif pretrained:
        with _found(model, known):
            return


def _file(model: str, weights: str | Path) -> WeightFile:
    fix = f"give the backbone.model that the file was made with (now {model}), or backbone.weights=null for timm's own"
    return WeightFile.find(weights, fix)


def _known(model: str, needs_weights: bool) -> Any:
    """timm's own description of a model name; None for one with a source (hf-hub:…), which timm looks up itself."""
    if ":" in model:
        return None
    if not timm.is_model(model):
        raise DigrapError(
            f"backbone.model={model}: timm has no such model; {nearest_models(model, timm.list_models())}"
        )
    try:
        known = timm.models.get_pretrained_cfg(model)
    except RuntimeError as error:  # the tag after the dot
        names = [name for name in timm.list_pretrained() if name.split(".")[0] == model.split(".")[0]]
        others = nearest(model, names) if names else f"it has none of {model.split('.')[0]}"
        raise DigrapError(f"backbone.model={model}: timm has no such weights; {others}") from error
    if needs_weights and not (known and known.has_weights):
        raise DigrapError(
            f"backbone.model={model}: timm has no pre-trained weights for it; {OTHERWISE}, or use another model "
            f"({nearest_models(model, timm.list_models(pretrained=True))})"
        )
    return known


def _from_timm(model: str, pretrained: bool, image_size: int | None, options: dict[str, Any]) -> nn.Module:
    """The model with random weights, or with those timm knows under its name."""
    try:
        with _load_results() as results:
            module = timm.create_model(model, pretrained=pretrained, **options)
    except (AssertionError, TypeError, ValueError) as error:  # raised by the model's own constructor
        size = "" if image_size is None else f" backbone.image_size={image_size}"
        raise DigrapError(f"backbone.model={model}{size}: timm cannot build it ({first_line(error)})") from error
    except Exception as error:  # torch.hub, huggingface_hub and its http library have no base class in common
        raise _not_fetched(model, error) from error
    # timm vouches for its own weights; some lack a last norm, which then keeps its initial values.
    for problem in _account(module, model, results).problems():
        log.warning("backbone.model=%s: timm's weights do not fit the model exactly (%s)", model, problem)
    return module


def _found(model: str, known: Any) -> contextlib.AbstractContextManager[None]:
    """In what timm finds the weights of that name: in the local cache alone where they are there, else on the hub.

    Raises DigrapError where they are in neither, after one request: the hub's client itself would try for minutes.
    """
    source, _, name = model.partition(":")
    if known is None and source.replace("_", "-") != "hf-hub":
        return contextlib.nullcontext()
    facts = {"hf_hub_id": name} if known is None else known.to_dict()
    if not facts.get("hf_hub_id"):
        return contextlib.nullcontext()  # torch's own downloads, which try once
    repository, files, revision = _on_hub(facts)
    needed = ["config.json"] if known is None else files
    if cached_file(repository, files, revision) and cached_file(repository, needed, revision):
        return cache_alone()
    try:
        ask(repository, needed, revision)
    except Exception as error:  # huggingface_hub and its http library have no base class in common
        raise _not_fetched(model, error) from error
    return contextlib.nullcontext()


def _not_fetched(model: str, error: Exception) -> DigrapError:
    return DigrapError(
        f"backbone.model={model}: its weights are not in the cache ({constants.HF_HUB_CACHE}) and could not be fetched "
        f"({first_line(error)}); restore the network, or {OTHERWISE}"
    )


def _from_file(model: str, weights: str | Path, options: dict[str, Any]) -> tuple[nn.Module, Provenance]:
    """The model with a file's weights, put through timm's own conversion for that model; the file's head is dropped."""
    file = _file(model, weights)
    try:
        timm.models.load_state_dict(file.path, weights_only=True)  # older timm unpickled anything
    except Exception as error:  # safetensors, pickle, zip and torch have no base class in common
        raise file.error(f"not a readable safetensors or torch file ({first_line(error)})") from error
    options["pretrained_cfg_overlay"] |= {"file": str(file.path), "source": None}
    try:
        with _load_results() as results:
            module = timm.create_model(model, pretrained=True, **options)
    except Exception as error:
        raise file.error(f"the weights do not fit the model ({last_line(error)})") from error
    found = _account(module, model, results)
    file.check(found)
    for reason in dict.fromkeys(found.dropped.values()):
        keys = [key for key, why in found.dropped.items() if why == reason]
        log.warning("backbone.weights=%s: not loaded: %s (%d keys, %s first)", file.path, reason, len(keys), keys[0])
    return module, file.provenance("file", model=model)


def _provenance_by_name(module: nn.Module, model: str) -> Provenance:
    """The record of weights that timm found by name; without sha256 where timm's cache does not tell the file."""
    facts = module.pretrained_cfg
    name = model if ":" in model else ".".join(filter(None, (facts.get("architecture"), facts.get("tag"))))
    path = _cached(facts)
    if path is None:
        return {"source": "timm", "model": name}
    return WeightFile(path, OTHERWISE).provenance("timm", model=name)


def _cached(facts: dict[str, Any]) -> Path | None:
    """The cached file of timm's weights: of the hub, where timm prefers safetensors, else of torch's own downloads."""
    if facts.get("hf_hub_id"):
        return cached_file(*_on_hub(facts))
    url = facts.get("url") or ""
    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    return path if url and path.is_file() else None


def _on_hub(facts: dict[str, Any]) -> tuple[str, list[str], str | None]:
    """Repository, names of the weights' file in timm's order, and revision."""
    repository, _, revision = facts["hf_hub_id"].partition("@")
    file = facts.get("hf_hub_filename") or "pytorch_model.bin"
    names = ["model.safetensors"] if file == "pytorch_model.bin" else []
    return repository, [*names, str(PurePosixPath(file).with_suffix(".safetensors")), file], revision or None


def _account(module: nn.Module, model: str, results: list[Any]) -> Account:
    """The account of the keys that timm loaded loosely.

    An unexpected key inside a part that the model has (a block too many) is unknown: the file is of another model. One
    of a part that the model lacks (an auxiliary head, a projector) is dropped, as is the file's head.
    """
    head = tuple(f"{name}." for name in _head(module, model))
    heads, parts = {name.split(".")[0] for name in head}, {name.split(".")[0] for name in module.state_dict()}
    unexpected = [key for result in results for key in result.unexpected_keys]
    dropped = {key: "its head" for key in unexpected if key.split(".")[0] in heads}
    dropped |= {key: "a part that the model does not have" for key in unexpected if key.split(".")[0] not in parts}
    missing = [key for result in results for key in result.missing_keys if not key.startswith(head)]
    return Account(
        dropped=dropped, unknown=tuple(key for key in unexpected if key not in dropped), missing=tuple(missing)
    )


@contextlib.contextmanager
def _load_results() -> Iterator[list[Any]]:
    """The results of load_state_dict in the meantime: with a new head timm loads loosely and does not return them."""
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
        raise DigrapError(f"backbone.model={model}: timm names no classification head in it; use another model")
    return head


def _try_size(module: nn.Module, model: str, image_size: int) -> None:
    """Pass one black picture through the model, so that a size it does not take fails here, not in the first step.

    Raises DigrapError.
    """
    module.eval()
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise DigrapError(
            f"backbone.image_size={image_size}: {model} does not take it ({first_line(error)}); give another, or null "
            "for the model's own"
        ) from error
    module.train()


def _transforms(module: nn.Module, image_size: int | None) -> tuple[Any, Any, Any]:
    """(train, eval) from PIL to uint8 (3, H, W), and the batch's uint8 → normalised float.

    Training crops are torchvision's: they draw from torch's generator, which the engine seeds by example; timm's own
    draw from Python's. The eval transform is timm's, without the normalisation.
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
