"""The contract between models and the rest: a module, its transforms, and which parameters have no anchor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn


@dataclass
class Backbone:
    """A pre-trained model as the engine takes it.

    `batch_transform` maps a batch of images (uint8 (N, 3, H, W), on the model's device) to the module's float input;
    `train_transform` and `eval_transform`, where there are any, make one uint8 (3, H, W) image of what the dataset
    gives, in the loading processes. `unanchored` names the parameters that were not pre-trained (a fresh head); `head`
    the modules or parameters of the head, pre-trained or not. `has_head` says whether the untouched model can
    classify, that is, whether it can be tested without training. `provenance` says which weights these are (file,
    sha256, revision), for the record.
    """

    module: nn.Module
    batch_transform: Callable
    train_transform: Callable | None = None
    eval_transform: Callable | None = None
    unanchored: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    has_head: bool = True
    provenance: dict[str, str] = field(default_factory=dict)


def first_line(error: Exception) -> str:
    """What an error says, in a line; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
