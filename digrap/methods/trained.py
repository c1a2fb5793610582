"""Which parameters of a model train, and which of its layers are in training mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from digrap.optim.groups import covered

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _all(module: nn.Module, head: Iterable[str]) -> set[str]:
    """What the backbone left trainable: everything, or the adapters."""
    return {name for name, param in module.named_parameters() if param.requires_grad}


def _head(module: nn.Module, head: Iterable[str]) -> set[str]:
    """The head alone."""
    if not (names := covered([name for name, _ in module.named_parameters()], head)):
        raise ValueError("the backbone names no head that could train")
    return names


def _norms_and_head(module: nn.Module, head: Iterable[str]) -> set[str]:
    """The normalisation layers, torch's or by their class's name, and the head."""
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in module.named_modules()
        if isinstance(layer, NORMS) or "norm" in type(layer).__name__.lower()
        for name, _ in layer.named_parameters(recurse=False)
    }
    if not norms:
        raise ValueError("the backbone has no normalisation layer that could train")
    return norms | _head(module, head)


CHOICES: dict[str, Callable[[nn.Module, Iterable[str]], set[str]]] = {
    "all": _all,
    "head": _head,
    "norms_and_head": _norms_and_head,
}


def choose_trained(module: nn.Module, trains: str, head: Iterable[str]) -> None:
    """Set requires_grad for what `trains` names; `head` are names of the head's modules or parameters.

    Raises ValueError for an unknown choice, or where there is no head to train.
    """
    if trains not in CHOICES:
        raise ValueError(f"trains={trains!r} is not one of {', '.join(CHOICES)}")
    chosen = CHOICES[trains](module, tuple(head))
    for name, param in module.named_parameters():
        param.requires_grad_(name in chosen)


def training_mode(module: nn.Module) -> None:
    """Training mode where something trains; layers whose parameters are all frozen stay in evaluation mode, so that
    batch norm keeps its pre-trained statistics and features come without dropout."""
    module.train()
    for layer in module.modules():
        params = list(layer.parameters())
        if params and not any(param.requires_grad for param in params):
            layer.eval()
