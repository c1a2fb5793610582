"""Text metrics for classes that a model names in its own words: DomainNet-oVQA's (vlm_robustness, after ovqa).

acc, valid_acc, EM and Cont compare texts in the SIMPLE normalisation; ClipMatch@k ranks classes by the cosine of given
embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from digrap.core.errors import DigrapError
from digrap.metrics.intervals import mean_interval

SCORES = ("acc", "EM", "Cont")  # of a prediction's text
CLIP_SCORES = {"ClipM1": 1, "ClipM5": 5}  # name → k of ClipMatch@k
OTHER = re.compile(r"[^a-zA-Z0-9 ]+")
UNKNOWN = -1
TIE = 1e-9  # cosines nearer than this are equal: their last bits depend on the order of a sum
CHUNK = 4096  # predictions whose cosines are in memory at once


def simple(text: str) -> str:
    """Normalise a text: each run of anything but ASCII letters, digits and spaces is one space; in lower case."""
    return " ".join(OTHER.sub(" ", text).lower().split())


@dataclass(frozen=True)
class Naming:
    """Scores of each prediction, arrays (n,).

    `label` is the class that it names, −1 for none; `right`: that is the target; `valid`: it names some class; `exact`:
    the normalised texts are equal; `contained`: the prediction contains the target's words, whole and in a row.
    """

    label: np.ndarray
    right: np.ndarray
    valid: np.ndarray
    exact: np.ndarray
    contained: np.ndarray

    def scores(self) -> dict[str, np.ndarray]:
        """Return SCORES by name: bool (n,)."""
        return {"acc": self.right, "EM": self.exact, "Cont": self.contained}

    def summary(self) -> dict[str, Any]:
        """Return n, valid, and in percent acc, valid_acc (None if no prediction is a class), EM and Cont."""
        n, valid = self.right.size, int(np.count_nonzero(self.valid))
        return {
            "n": n,
            "valid": valid,
            "acc": _percent(self.right, n),
            "valid_acc": _percent(self.right[self.valid], valid) if valid else None,
            "EM": _percent(self.exact, n),
            "Cont": _percent(self.contained, n),
        }


def naming(predictions: Sequence[str], targets: Sequence[int] | np.ndarray, classes: Sequence[str]) -> Naming:
    """Compare predictions (n,) with the names of their target classes, indices (n,) into `classes`.

    Raises DigrapError for lengths that do not fit, no predictions, targets outside `classes`, a prediction that is not
    a string, and class names that are empty or equal once normalised.
    """
    label_of = labels_of(classes)
    names = list(label_of)
    targets = _targets(targets, len(predictions), len(names))
    texts = [_normalised(text) for text in predictions]
    label = np.array([label_of.get(text, UNKNOWN) for text in texts], dtype=np.int64)
    wanted = [names[k] for k in targets.tolist()]
    right = label == targets
    contained = [f" {name} " in f" {text} " for name, text in zip(wanted, texts, strict=True)]
    # Names are distinct, so a prediction equals its target's text exactly where it names that class.
    return Naming(label, right, label != UNKNOWN, right.copy(), np.array(contained, dtype=bool))


def text_scores(answers: Sequence[str | None], targets: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """Return n, valid, empty, acc, valid_acc, EM, Cont, and interval_95 of the last four. None is a missing answer."""
    found = naming([text or "" for text in answers], targets, classes)
    parts = {"acc": found.right, "valid_acc": found.right[found.valid], "EM": found.exact, "Cont": found.contained}
    return {
        **found.summary(),
        "empty": sum(text is not None and not simple(text) for text in answers),
        "interval_95": {name: interval(hits) for name, hits in parts.items()},
    }


def interval(hits: np.ndarray) -> list[float] | None:
    """Return the 95 % interval of the hits' share, in percent; None where there are none to count."""
    return mean_interval(hits.astype(float)) if hits.size else None


def clip_scores(
    answers: Sequence[str | None],
    targets: Sequence[int] | np.ndarray,
    embed: Callable[[list[str]], np.ndarray],
    class_embeddings: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return CLIP_SCORES by name: bool (n,). `embed` gives embeddings of texts; a missing answer (None) is wrong."""
    hits = clip_match(embed([simple(text or "") for text in answers]), class_embeddings, targets, CLIP_SCORES.values())
    given = np.array([text is not None for text in answers])
    return {name: hits[k] & given for name, k in CLIP_SCORES.items()}


def clip_match(
    prediction_embeddings: np.ndarray,
    class_embeddings: np.ndarray,
    targets: Sequence[int] | np.ndarray,
    ks: Collection[int] = (1, 5),
) -> dict[int, np.ndarray]:
    """Return {k: bool (n,)}: whether the target is among the k classes of highest cosine.

    Embeddings are (n, d) of the predictions and (c, d) of the classes, not necessarily of length 1: the mean of a
    class's prompts needs no normalisation. An embedding of zeros has cosine 0 with all. Of equal cosines the
    lower class index ranks first. Raises DigrapError for shapes that do not fit, values that are not finite, targets
    outside the classes and k < 1.
    """
    answers, classes = _unit(prediction_embeddings, "prediction"), _unit(class_embeddings, "class")
    if answers.shape[1] != classes.shape[1]:
        raise DigrapError(
            f"embeddings have {answers.shape[1]} and {classes.shape[1]} dimensions: use one model for both"
        )
    if bad := [k for k in ks if k < 1]:
        raise DigrapError(f"ks has {bad[0]}: give numbers from 1")
    targets = _targets(targets, len(answers), len(classes))
    rank = np.concatenate(
        [
            _ranks(answers[start : start + CHUNK] @ classes.T, targets[start : start + CHUNK])
            for start in range(0, len(answers), CHUNK)
        ]
    )
    return {k: rank < k for k in ks}


def _ranks(cosines: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the target's rank (n,), from 0, in each row of cosines (n, c)."""
    own = np.take_along_axis(cosines, targets[:, None], axis=1)
    above = cosines > own + TIE
    tied_before = (np.abs(cosines - own) <= TIE) & (np.arange(cosines.shape[1]) < targets[:, None])
    return (above | tied_before).sum(axis=1)


def _unit(embeddings: np.ndarray, what: str) -> np.ndarray:
    """Scale rows to length 1, in float64; rows of zeros stay."""
    embeddings = np.asarray(embeddings, dtype=np.float64)
    if embeddings.ndim != 2 or not embeddings.size:
        raise DigrapError(f"{what} embeddings have shape {embeddings.shape}: give (number, dimensions)")
    if not np.isfinite(embeddings).all():
        raise DigrapError(f"{what} embeddings have values that are not finite: compute them in float32")
    largest = np.abs(embeddings).max(axis=1, keepdims=True)
    scaled = embeddings / np.where(largest == 0, 1.0, largest)  # squares of very small or large values stay in range
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(length == 0, 1.0, length)


def _normalised(text: str) -> str:
    if not isinstance(text, str):
        raise DigrapError(f"a prediction is {text!r:.80}, not a string: give strings")
    return simple(text)


def labels_of(classes: Sequence[str]) -> dict[str, int]:
    """Return {normalised name: class index}, in the classes' order. Raises DigrapError for names that are empty or
    equal once normalised."""
    result: dict[str, int] = {}
    for place, name in enumerate(map(simple, classes)):
        if not name:
            raise DigrapError(f"class {place} ({classes[place]!r}) has no letter or digit: give it a name")
        if name in result:
            raise DigrapError(f"classes {classes[result[name]]!r} and {classes[place]!r} are equal once normalised")
        result[name] = place
    return result


def _targets(targets: Sequence[int] | np.ndarray, n: int, classes: int) -> np.ndarray:
    targets = np.asarray(targets)
    if targets.shape != (n,) or not n:
        raise DigrapError(f"{n} predictions and targets of shape {targets.shape}: give one target per prediction")
    if targets.dtype.kind not in "iu":
        raise DigrapError(f"targets are {targets.dtype}: give class indices, integers")
    if len(bad := targets[(targets < 0) | (targets >= classes)]):
        raise DigrapError(f"target {bad[0]} is not one of the {classes} classes")
    return targets.astype(np.int64)


def _percent(hits: np.ndarray, of: int) -> float:
    return 100.0 * int(np.count_nonzero(hits)) / of
