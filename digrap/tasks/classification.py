"""Image classification: cross-entropy, top-1 predictions, accuracy in percent."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Classification:
    """loss and predict take a batch (inputs (N, …) float, labels (N,) int64); score takes all predictions."""

    metric = "accuracy"

    def __init__(self, classes: tuple[str, ...]):
        self.classes = classes

    def loss(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch: a 0-dim tensor."""
        return F.cross_entropy(module(inputs), labels)

    def predict(self, module: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
        """The most probable class (N,) int64 and its probability (N,) float32."""
        probability, label = module(inputs).float().softmax(dim=1).max(dim=1)
        return {"prediction": label, "probability": probability}

    def score(self, predictions: dict[str, Tensor], labels: Tensor) -> dict[str, float]:
        """Accuracy in percent over all examples of a split."""
        right = torch.count_nonzero(predictions["prediction"] == labels).item()
        return {"accuracy": 100.0 * right / len(labels)}
