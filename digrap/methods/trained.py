"""The parameters of a model that train, and the layers that are in training mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from digrap.optim.groups import covered

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _all(module: nn.Module, head: Iterable[str]) -> set[str]:
    """Names of all parameters that the backbone left trainable: the whole model, or the adapters."""
    return {name for name, param in module.named_parameters() if param.requires_grad}


def _head(module: nn.Module, head: Iterable[str]) -> set[str]:
    """Names of the head's parameters. Raises ValueError without a head."""
    if not (names := covered([name for name, _ in module.named_parameters()], head)):
        raise ValueError("the backbone has no head to train")
    return names


def _norms_and_head(module: nn.Module, head: Iterable[str]) -> set[str]:
    """Names of the parameters of normalisation layers (torch's, or with "norm" in their class's name) and the head."""
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in module.named_modules()
        if isinstance(layer, NORMS) or "norm" in type(layer).__name__.lower()
        for name, _ in layer.named_parameters(recurse=False)
    }
    if not norms:
        raise ValueError("the backbone has no normalisation layer to train")
    return norms | _head(module, head)


CHOICES: dict[str, Callable[[nn.Module, Iterable[str]], set[str]]] = {
    "all": _all,
    "head": _head,
    "norms_and_head": _norms_and_head,
}


def choose_trained(module: nn.Module, trains: str, head: Iterable[str]) -> None:
    """Set requires_grad on the parameters that `trains` selects (a key of `CHOICES`) and clear it on all others.

    `head` holds names of the head's modules or parameters; where it trains without the rest, it gets a copy of what it
    shares with another module (an embedding). Raises ValueError for an unknown choice, and for a model
    without a head or without normalisation layers where the choice needs them.
    """
    if trains not in CHOICES:
        raise ValueError(f"trains={trains!r} is not one of {', '.join(CHOICES)}")
    if trains != "all":
        names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
        untie(module, covered(names, head))
    chosen = CHOICES[trains](module, tuple(head))
    for name, param in module.named_parameters():
        param.requires_grad_(name in chosen)


def untie(module: nn.Module, names: Iterable[str]) -> None:
    """Give each of the named parameters that another module shares a copy of its own."""
    for name in names:
        place, _, last = name.rpartition(".")
        owner = module.get_submodule(place)
        param = getattr(owner, last)
        if sum(other is param for _, other in module.named_parameters(remove_duplicate=False)) > 1:
            setattr(owner, last, nn.Parameter(param.detach().clone(), requires_grad=param.requires_grad))


def training_mode(module: nn.Module) -> None:
    """Put the model in training mode, except the layers whose parameters are all frozen: in evaluation mode batch norm
    keeps its pre-trained statistics and their dropout is off."""
    module.train()
    for layer in module.modules():
        params = list(layer.parameters())
        if params and not any(param.requires_grad for param in params):
            layer.eval()
