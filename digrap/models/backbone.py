"""The contract between models and the rest: a module, its transforms, and which parameters have no anchor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image
from torch import Tensor, nn


class Answering(Protocol):
    """How a model takes pictures with questions and gives answers in text."""

    def encode(
        self, images: Sequence[Image.Image], questions: Sequence[str], answers: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Tensors by name, the examples first, from N pictures and questions; with `answers` for the loss, else to
        generate. It runs in the loading processes."""

    def loss(self, module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Mean loss of the encoded answers: a 0-dim tensor."""

    def generate(self, module: nn.Module, inputs: dict[str, Tensor]) -> list[str]:
        """One answer for each of the N encoded questions."""


@dataclass
class Backbone:
    """A pre-trained model as the engine takes it.

    `batch_transform` maps a batch of images (uint8 (N, 3, H, W), on the model's device) to the module's float input;
    `train_transform` and `eval_transform`, where there are any, make one uint8 (3, H, W) image of what the dataset
    gives, in the loading processes. `unanchored` names the parameters that were not pre-trained (a fresh head); `head`
    the modules or parameters of the head, pre-trained or not. `has_head` says whether the untouched model can
    classify, that is, whether it can be tested without training. `answering`, where the model answers questions, encodes
    them and generates answers. `provenance` says which weights these are (file,
    sha256, revision), for the record.
    """

    module: nn.Module
    batch_transform: Callable
    train_transform: Callable | None = None
    eval_transform: Callable | None = None
    unanchored: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    has_head: bool = True
    answering: Answering | None = None
    provenance: dict[str, str] = field(default_factory=dict)


def first_line(error: Exception) -> str:
    """What an error says, in a line; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
