"""Naming what is in a picture: question answering whose answers are the dataset's class names, as in DomainNet-oVQA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from digrap.core.errors import DigrapError
from digrap.metrics.naming import CLIP_SCORES, SCORES, clip_scores, interval, labels_of, naming, simple, text_scores
from digrap.models.backbone import Answering, Backbone
from digrap.tasks.task import Answers, Setting, check_no_smoothing, check_select_by
from digrap.tasks.vqa import VQA, answering_of

BACKBONES = "vqa"  # it takes those that are made for VQA
ONE_CLASS = ("acc", "EM", "ClipM1")  # scores that need one class of all
WITHOUT_CLIP = "dataset.clip=null dataset.select_by=EM"


@dataclass
class ClipMatch:
    """open_clip's text tower on the run's device, and the classes' embeddings, which the folder `cache` keeps."""

    tower: Any
    classes: tuple[str, ...]
    cache: Path | None

    @cached_property
    def _class_embeddings(self) -> np.ndarray:
        from digrap.models.text_tower import class_embeddings  # open_clip takes seconds to import

        return class_embeddings(self.tower, [simple(name) for name in self.classes], self.cache)

    def scores(self, answers: list[str], labels: list[int]) -> dict[str, np.ndarray]:
        """ClipM1 and ClipM5 of each answer: bool (n,)."""
        embed = partial(self.tower.embed, description="embedding answers")
        return clip_scores(answers, labels, embed, self._class_embeddings)


class Naming(VQA):
    """Records, batches, loss and answers are VQA's; the truth of a question is the class that its target names.

    An answer is compared with that name as text (acc, EM, Cont), and where `clip` is given by ClipMatch (ClipM1,
    ClipM5). `metric` is the one that chooses checkpoints.
    """

    def __init__(self, answering: Answering, classes: tuple[str, ...], metric: str, clip: ClipMatch | None):
        super().__init__(answering, metric)
        self.classes, self.clip, self._label_of = classes, clip, labels_of(classes)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "clip": None}  # loading processes collate, they score nothing

    @property
    def chance(self) -> float | None:
        """One class in all, where an answer can name only one."""
        return 100 / len(self.classes) if self.metric in ONE_CLASS else None

    @property
    def notes(self) -> Mapping[str, Any]:
        """The text tower that scored."""
        return {} if self.clip is None else {"scored_with": self.clip.tower.provenance}

    def example_scores(self, answers: Answers, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Hits of every score: 0 or 1."""
        texts, labels = list(answers["prediction"]), self._labels(truth)
        found = naming(texts, labels, self.classes).scores()
        if self.clip is not None:
            found |= self.clip.scores(texts, labels)
        return {name: hits.astype(np.float64) for name, hits in found.items()}

    def report(self, answers: Answers, truth: np.ndarray) -> dict[str, Any]:
        """What scripts/score_ovqa.py prints of these answers: counts, scores, and their intervals."""
        texts, labels = list(answers["prediction"]), self._labels(truth)
        result = text_scores(texts, labels, self.classes)
        if self.clip is not None:
            for name, hits in self.clip.scores(texts, labels).items():
                result[name], result["interval_95"][name] = 100 * float(hits.mean()), interval(hits)
            result["clip"] = self.clip.tower.provenance
        return result

    def _labels(self, truth: np.ndarray) -> list[int]:
        """The class of each question. Raises DigrapError for a target that names none."""
        labels = [self._label_of.get(simple(question.target)) for question in truth]
        if None in labels:
            question = truth[labels.index(None)]
            raise DigrapError(
                f"{question.dataset} question {question.id}: its answer {question.target!r} is not one of the "
                f"{len(self.classes)} classes; dataset.task=vqa scores answers of any text"
            )
        return labels


def check(select_by: str, setting: Setting) -> None:
    """Raise DigrapError for an unknown score, one that needs ClipMatch's model where `setting` has none, and a `clip`
    that names no model."""
    check_select_by(select_by, (*SCORES, *CLIP_SCORES))
    check_no_smoothing(setting)
    if setting.clip is None:
        if select_by in CLIP_SCORES:
            raise DigrapError(
                f"dataset.select_by={select_by}: dataset.clip is null, and {' and '.join(CLIP_SCORES)} need its model; "
                f"give dataset.select_by=EM (or {', '.join(name for name in SCORES if name != 'EM')})"
            )
        return
    keys = {"model", "weights"}
    if not isinstance(setting.clip, Mapping) or set(setting.clip) != keys or not all(setting.clip.values()):
        raise DigrapError(
            f"dataset.clip={setting.clip}: give {{model: …, weights: …}}, open_clip's model and its tag or a file of "
            f"weights; without it: {WITHOUT_CLIP}"
        )


def find_weights(setting: Setting) -> None:
    """Find or fetch the text tower's weights. Raises DigrapError where there are none."""
    if setting.clip is not None:
        from digrap.models.text_tower import find_text_tower

        find_text_tower(setting.clip["model"], setting.clip["weights"], _options())


def build(backbone: Backbone, classes: tuple[str, ...], select_by: str, setting: Setting) -> Naming:
    """Naming of `classes` by `backbone`, with the text tower that `setting` names. Raises DigrapError for a backbone
    that answers no questions, for no classes, and for weights that are missing or damaged."""
    if not classes:
        raise DigrapError("dataset.task=naming: this dataset has no classes to name; dataset.task=vqa needs none")
    answering = answering_of(backbone, "naming")
    return Naming(answering, classes, select_by, None if setting.clip is None else _clip_match(classes, setting))


def _clip_match(classes: tuple[str, ...], setting: Setting) -> ClipMatch:
    from digrap.models.text_tower import load_text_tower

    model, weights = setting.clip["model"], setting.clip["weights"]
    return ClipMatch(load_text_tower(model, weights, setting.device, options=_options()), classes, setting.cache)


def _options() -> Any:
    """The options' names in messages."""
    from digrap.models.open_clip_weights import Options

    return Options(
        model="dataset.clip.model",
        tag="dataset.clip.weights",
        file="dataset.clip.weights",
        offline=f"give dataset.clip.weights=FILE, fetched elsewhere, or {WITHOUT_CLIP} for the scores without a model",
    )
