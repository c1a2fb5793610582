"""The contract between models and the rest: a module, its transforms, and which parameters have no anchor."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from PIL import Image
from torch import Tensor, nn

from digrap.core.errors import DigrapError
from digrap.models.weights import Provenance


@dataclass(frozen=True)
class Decoding:
    """How an answer is searched: greedily with one beam, and at most `max_new_tokens` tokens of it."""

    name: str = "greedy"
    beams: int = 1
    max_new_tokens: int = 10


class Answering(Protocol):
    """How a model takes pictures with questions and gives answers in text.

    It is pickled for loading processes: it must not hold the model. `module` may also be a callable that runs the
    model with other weights in place of its own, for the loss. The engine sets `decoding`; results state it.
    """

    decoding: Decoding

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
    classify, that is, whether it can be tested without training. `answering`, where the model answers questions,
    encodes them and generates answers. `provenance` says which weights these are, see
    `digrap.models.weights.Provenance`. `remarks` are further facts that results state, by names that
    results.json does not have itself.
    """

    module: nn.Module
    batch_transform: Callable
    train_transform: Callable | None = None
    eval_transform: Callable | None = None
    unanchored: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    has_head: bool = True
    answering: Answering | None = None
    provenance: Provenance = field(default_factory=dict)
    remarks: dict[str, Any] = field(default_factory=dict)

    @property
    def notes(self) -> dict[str, Any]:
        """What results say of the model and its answers: `remarks`, and the `decoding` of answers in text."""
        return self.remarks | ({} if self.answering is None else {"decoding": asdict(self.answering.decoding)})


def check_image_size(image_size: Any, default: bool = True) -> None:
    """Raise DigrapError unless it is a number of pixels, or None where the model has a size of its own (`default`)."""
    if image_size is None and default:
        return
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
        other = ", or null for the model's own" if default else ""
        raise DigrapError(f"backbone.image_size={image_size}: give a whole number of pixels{other}")


def nearest_models(name: str, models: Sequence[str]) -> str:
    """`nearest: a, b` for the models most like `name`, else the first three: libraries have too many to list them."""
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.4) or models[:3]
    return f"nearest: {', '.join(near)}"
