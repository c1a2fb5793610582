"""The part of a model that a run saves: the values that training changed, and the frozen weights they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from digrap.core.errors import DigrapError
from digrap.engine.sharding import cut_like
from digrap.methods.trained import untie
from digrap.models.backbone import Backbone
from digrap.models.weights import tensors_sha256

BASE_KEYS = ("source", "weights", "revision", "sha256", "adapters", "adapters_sha256")
DIGESTS = ("sha256", "adapters_sha256")


def base_of(backbone: Backbone) -> dict[str, str]:
    """The pre-trained weights that a run builds on: source, file, revision and sha256, as far as they are known.

    Where no file is known (random weights) sha256 is that of the tensors themselves, in the order of their names.
    Call it before anything is trained or loaded on top.
    """
    known = {key: str(backbone.provenance[key]) for key in BASE_KEYS if backbone.provenance.get(key)}
    if "sha256" in known:
        return known
    return {"source": "random weights", **known, "sha256": tensors_sha256(backbone.module.state_dict())}


def check_base(found: dict[str, str], base: dict[str, str], file: Path) -> None:
    """Raise DigrapError where `file` was saved on top of other pre-trained weights than those of this run."""
    if any(found.get(key) != base.get(key) for key in DIGESTS):
        raise DigrapError(
            f"{file} has only what was trained on top of {_named(found)}, but the backbone is now {_named(base)}. Give "
            "the backbone the weights that the run was started with, or delete the run folder to start afresh"
        )


def _named(base: dict[str, str]) -> str:
    parts = [base.get("source", ""), base.get("weights", ""), base.get("revision", "")]
    named = f"{' '.join(filter(None, parts)) or 'unknown weights'} (sha256 {base.get('sha256', 'unknown')[:12]})"
    if "adapters" in base:
        named += f" with the adapters {base['adapters']} (sha256 {base['adapters_sha256'][:12]})"
    return named


class TrainedState:
    """The part of a model's state that a run changes: its trainable parameters, the names in `loaded` (weights that it
    was initialised from), and the buffers that differ from what they are when this is made.

    Make it from the pre-trained model, before weights are loaded on top.
    """

    def __init__(self, module: nn.Module, loaded: Iterable[str] = ()):
        self.module, self.loaded = module, set(loaded)
        self.buffers = {name: value.detach().cpu().clone() for name, value in _buffers(module).items()}

    def names(self) -> list[str]:
        """The names that are saved now, in the order of the model's state dict."""
        trained = {name for name, param in self.module.named_parameters() if param.requires_grad}
        changed = {
            name for name, value in _buffers(self.module).items() if not torch.equal(value.cpu(), self.buffers[name])
        }
        saved = trained | changed | self.loaded
        return [name for name in self.module.state_dict() if name in saved]

    @torch.no_grad()
    def reset_buffers(self) -> None:
        """Give the buffers their pre-trained values."""
        for name, value in _buffers(self.module).items():
            value.copy_(self.buffers[name])

    def get(self) -> dict[str, Tensor]:
        """The saved part of the state dict; the tensors are the model's own."""
        state = self.module.state_dict()
        return {name: state[name] for name in self.names()}


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that a state dict has."""
    kept = module.state_dict()
    return {name: value for name, value in module.named_buffers() if name in kept}


def overlay(module: nn.Module, weights: dict[str, Tensor], file: Path | str) -> None:
    """Load `weights` over the model's own; names that are not in them keep their values.

    A parameter that shares another's values (a head those of an embedding) gets its own where the weights hold it
    alone, or the two with different values.
    Raises DigrapError where a name or a shape is not the model's.
    """
    own = module.state_dict()
    if unknown := [name for name in weights if name not in own]:
        shown = ", ".join(unknown[:3])
        raise DigrapError(
            f"{file}: {len(unknown)} tensors are not in the model ({shown}); is it from another backbone?"
        )
    if wrong := [name for name in weights if weights[name].shape != own[name].shape]:
        name = wrong[0]
        raise DigrapError(
            f"{file}: {name} has shape {tuple(weights[name].shape)}, the model's has {tuple(own[name].shape)}; is it "
            "from another backbone or for another number of classes?"
        )
    untie(module, list(_told_apart(module, weights)))
    module.load_state_dict({name: cut_like(value, own[name]) for name, value in weights.items()}, strict=False)


def _told_apart(module: nn.Module, weights: dict[str, Tensor]) -> Iterator[str]:
    """Further names of parameters with several names, where `weights` do not hold one value for all of them."""
    first: dict[Tensor, str] = {}
    for name, param in module.named_parameters(remove_duplicate=False):
        main = first.setdefault(param, name)
        if main != name and name in weights and not (main in weights and torch.equal(weights[main], weights[name])):
            yield name


def read_weights(file: Path, base: dict[str, str], module: nn.Module, anchored: bool = False) -> dict[str, Tensor]:
    """The weights of a file that a run saved, for `module` whose pre-trained weights are `base`.

    A file with every tensor of the model (an exported one, say) stands on nothing, unless they will be compared with
    the pre-trained ones (`anchored`). Raises DigrapError for a damaged file and for one of another base or of none.
    """
    try:
        with safetensors.safe_open(file, "pt") as opened:
            note = (opened.metadata() or {}).get("base")
        stands_on = None if note is None else dict(json.loads(note))
        weights = load_file(file)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        raise DigrapError(
            f"{file}: the weights cannot be read ({error}); delete the run folder and train again"
        ) from error
    missing = module.state_dict().keys() - weights.keys()
    if stands_on is not None and (missing or anchored):
        check_base(stands_on, base, file)
    elif missing:
        raise DigrapError(
            f"{file}: it does not say which pre-trained weights it belongs to, and {len(missing)} tensors are missing "
            f"({', '.join(sorted(missing)[:3])}); train the run again"
        )
    return weights
