"""Image classification: cross-entropy, top-1 predictions, accuracy."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from digrap.metrics.classification import report
from digrap.models.backbone import Backbone
from digrap.tasks.task import Answers, Batch, Setting, Stored, check_select_by

TOP = 5  # most probable classes that are kept


class Classification:
    """Records are (image uint8 (3, H, W), label); the module maps float images (N, …) to logits (N, classes)."""

    notes: Mapping[str, Any] = {}

    def __init__(
        self, backbone: Backbone, classes: tuple[str, ...], metric: str = "accuracy", label_smoothing: float = 0.0
    ):
        self.classes, self.metric, self.normalize = classes, metric, backbone.batch_transform
        self.label_smoothing = label_smoothing

    @property
    def chance(self) -> float:
        """One class in all."""
        return 100 / len(self.classes)

    def over(self, classes: tuple[str, ...]) -> Classification:
        """The same task with other classes."""
        other = copy.copy(self)
        other.classes = classes
        return other

    @staticmethod  # loading processes that are spawned get the function alone, without transforms and model
    def collate(records: Sequence[tuple[Tensor, int]], train: bool = False) -> Batch:
        """Images (N, 3, H, W) and labels int64 (N,)."""
        images, labels = default_collate(list(records))
        # A copy: sending the tensor from a loading process moves it, and frees the memory that an array would share.
        return Batch({"image": images, "label": labels}, labels.numpy().copy())

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy, with label smoothing where the recipe has it."""
        logits = module(self.normalize(batch.inputs["image"]))
        return F.cross_entropy(logits, batch.inputs["label"], label_smoothing=self.label_smoothing)

    def predict(self, module: nn.Module, batch: Batch) -> Answers:
        """The most probable class int64 (N,), its probability float32 (N,), and up to five of the most probable ones,
        int64 (N, k)."""
        probabilities = module(self.normalize(batch.inputs["image"])).float().softmax(dim=1)
        probability, label = probabilities.max(dim=1)
        top = probabilities.topk(min(TOP, probabilities.shape[1])).indices
        return {
            "prediction": label.cpu().numpy(),
            "probability": probability.cpu().numpy(),
            "top": top.cpu().numpy(),
        }

    def example_scores(self, answers: Answers, truth: np.ndarray) -> dict[str, np.ndarray]:
        """1 where the prediction is the label, else 0."""
        return {"accuracy": (answers["prediction"] == truth).astype(np.float64)}

    def stored(self, answers: Answers, truth: np.ndarray, scores: dict[str, np.ndarray]) -> tuple[Stored, Stored]:
        """Prediction and probability; the labels. Accuracy follows from them."""
        return {key: answers[key] for key in ("prediction", "probability")}, {"label": truth}

    def shown(self, answers: Answers, truth: np.ndarray) -> list[str]:
        """None: classes are shown by the score."""
        return []

    def report(self, answers: Answers, truth: np.ndarray) -> dict[str, Any]:
        """Accuracy with intervals, top-5, calibration, classes and confusions; see `digrap.metrics.classification`."""
        return report(answers, truth, self.classes)


def check(select_by: str, setting: Setting) -> None:
    """Raise DigrapError for another `select_by` than accuracy."""
    check_select_by(select_by, ("accuracy",))


def build(backbone: Backbone, classes: tuple[str, ...], select_by: str, setting: Setting) -> Classification:
    """Classification of `classes`."""
    return Classification(backbone, classes, select_by, setting.label_smoothing)
