"""Visual question answering: the loss of the most frequent answer, answers in text, the public scorers' accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from digrap.core.errors import DigrapError
from digrap.metrics.vqa.accuracy import M4C_ANSWERS, SCORERS, accuracies
from digrap.metrics.vqa.question import Question
from digrap.metrics.vqa.summary import report as vqa_report
from digrap.models.backbone import Answering, Backbone
from digrap.tasks.task import Answers, Batch, Setting, Stored, check_no_smoothing, check_select_by

SHOWN, WIDTH = 3, 60  # answers that are shown, and their letters


class VQA:
    """Records are (PIL image, Question). The backbone encodes pictures and questions, and generates answers.

    Every scorer that applies gives a score: official2021, official2017, and m4c where each question of a split has ten
    answers. `metric` is the one that chooses checkpoints.
    """

    notes: Mapping[str, Any] = {}
    chance: float | None = None

    def __init__(self, answering: Answering, metric: str):
        self.answering, self.metric = answering, metric

    def collate(self, records: Sequence[tuple[Image.Image, Question]], train: bool = False) -> Batch:
        """Encoded pictures and questions; with `train` the answers that the model is to give too."""
        images, questions = (list(part) for part in zip(*records, strict=True))
        targets = [question.target for question in questions] if train else None
        inputs = self.answering.encode(images, [question.question for question in questions], targets)
        return Batch(inputs, objects(questions))

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """The backbone's loss of the target answers."""
        return self.answering.loss(module, batch.inputs)

    def predict(self, module: nn.Module, batch: Batch) -> Answers:
        """One answer in text for each question."""
        return {"prediction": objects(self.answering.generate(module, batch.inputs))}

    def example_scores(self, answers: Answers, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy of each answer by every scorer that applies."""
        ten = all(len(question.answers) == M4C_ANSWERS for question in truth)
        texts, given = list(answers["prediction"]), [question.answers for question in truth]
        names = [question.id for question in truth]
        applying = [scorer for scorer in SCORERS if ten or scorer != "m4c"]
        return {scorer: accuracies(texts, given, scorer, names=names) for scorer in applying}

    def stored(self, answers: Answers, truth: np.ndarray, scores: dict[str, np.ndarray]) -> tuple[Stored, Stored]:
        """Answers with their scores, which need the human answers of the dataset's files; no truth."""
        kept = {f"score.{name}": values for name, values in scores.items()}
        return {"prediction": list(answers["prediction"]), **kept}, {}

    def shown(self, answers: Answers, truth: np.ndarray) -> list[str]:
        """Some questions, spread evenly over the split, with the answer and the one that people gave most often."""
        places = np.linspace(0, len(truth) - 1, min(SHOWN, len(truth)), dtype=int)
        asked = [(truth[place], answers["prediction"][place]) for place in places]
        return [
            f"{question.question[:WIDTH]!r} → {answer[:WIDTH]!r} (people: {question.target!r})"
            for question, answer in asked
        ]

    def report(self, answers: Answers, truth: np.ndarray) -> dict[str, Any]:
        """Each scorer's accuracy with its interval, overall and by type; see `digrap.metrics.vqa.summary`."""
        kinds = ([q.answer_type or None for q in truth], [q.question_type or None for q in truth])
        found = {name: vqa_report(scores, *kinds) for name, scores in self.example_scores(answers, truth).items()}
        plain = {name: scored["overall"]["accuracy"] for name, scored in found.items()}
        return {**plain, **{f"{name}_95": scored["overall"]["interval_95"] for name, scored in found.items()},
                "by_type": found}  # fmt: skip


def objects(values: Sequence[Any]) -> np.ndarray:
    """The values as an array (N,) of dtype object."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def check(select_by: str, setting: Setting) -> None:
    """Raise DigrapError for an unknown scorer."""
    check_select_by(select_by, SCORERS)
    check_no_smoothing(setting)


def build(backbone: Backbone, classes: tuple[str, ...], select_by: str, setting: Setting) -> VQA:
    """Question answering by `backbone`."""
    return VQA(answering_of(backbone, "vqa"), select_by)


def answering_of(backbone: Backbone, task: str) -> Answering:
    """How the backbone answers questions. Raises DigrapError for one that answers none."""
    if backbone.answering is None:
        raise DigrapError(f"dataset.task={task}: this backbone does not answer questions; choose one that does")
    return backbone.answering
