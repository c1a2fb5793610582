"""Image classification: cross-entropy, top-1 predictions, accuracy in percent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from digrap.metrics.classification import report


class Classification:
    """loss and predict take a batch (inputs (N, …) float, labels (N,) int64); score takes all predictions."""

    metric = "accuracy"
    bundled = ("prediction", "probability")  # what a run keeps of its predictions

    def __init__(self, classes: tuple[str, ...]):
        self.classes = classes

    def loss(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch: a 0-dim tensor."""
        return F.cross_entropy(module(inputs), labels)

    def predict(self, module: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
        """The most probable class (N,) int64, its probability (N,) float32, and the up to five most probable ones
        (N, k) int64."""
        probabilities = module(inputs).float().softmax(dim=1)
        probability, label = probabilities.max(dim=1)
        top = probabilities.topk(min(5, probabilities.shape[1])).indices
        return {"prediction": label, "probability": probability, "top": top}

    def report(self, predictions: dict[str, Tensor], labels: Tensor) -> dict[str, Any]:
        """The score with intervals, top-5, calibration, classes and confusions; see `digrap.metrics.classification`."""
        return report({key: value.numpy() for key, value in predictions.items()}, labels.numpy(), self.classes)

    def score(self, predictions: dict[str, Tensor], labels: Tensor) -> dict[str, float]:
        """Accuracy in percent over all examples of a split."""
        right = torch.count_nonzero(predictions["prediction"] == labels).item()
        return {"accuracy": 100.0 * right / len(labels)}
