"""Prediction bundles: the answers of a run, from which every score can be computed again. Imports no torch.

`predictions.npz` in a run folder holds `format`, `truth` (a digest) and per split

    <split>.prediction        class indices in the smallest integer type, or strings, in the split's order
    <split>.probability       of the predicted class, float16, where there is one
    <split>.score.<metric>    of every example, in [0, 1], float64, where it is no function of prediction and label

The truth is the same for every run of a dataset and seed, so it is kept once, in `labels/<digest>.npz` beside the run
folders: per split `<split>.label` (classes) and `<split>.id` (strings), where ids are more than places in the split.
Strings are one JSON list, the member `<name>.json`. The bytes of a file depend on its content alone.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digrap.core.errors import DigrapError, nearest
from digrap.runs.npz import Values, as_json, read_npz, write_npz
from digrap.runs.results_shape import is_hash

PREDICTIONS = "predictions.npz"
NAME = "the predictions"  # in errors
FORMAT = 2
TRUTH = "truth"
ACCURACY = "accuracy"  # the score that follows from prediction and label
KEYS = ("prediction", "probability")  # of a split, in the file's order; then the scores by name
SCORE = "score."


@dataclass(frozen=True)
class Bundle:
    """The predictions of a run with their truth. `path` is the file they were read from, `truth` the truth's digest."""

    path: Path
    truth: str
    _predictions: dict[str, dict[str, Values]]
    _truth: dict[str, dict[str, Values]]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order they were tested in."""
        return tuple(self._predictions)

    def size(self, split: str) -> int:
        """The number of examples."""
        return len(self.answers(split))

    def answers(self, split: str) -> Values:
        """The predictions (n,): class indices or strings."""
        found = self._of(split).get("prediction")
        if found is None:
            raise DigrapError(f"{self.path} has no whole predictions of split {split}; make the run again")
        return found

    def probabilities(self, split: str) -> np.ndarray | None:
        """The probabilities of the predictions, float16 (n,), or None."""
        return self._of(split).get("probability")

    def ids(self, split: str) -> list[str]:
        """The examples' ids (n,); by default their places in the split."""
        found = self._truth.get(split, {}).get("id")
        return list(map(str, range(self.size(split)))) if found is None else found

    def labels(self, split: str) -> np.ndarray | None:
        """The true classes (n,), or None where the truth is no class."""
        return self._truth.get(split, {}).get("label")

    def metrics(self, split: str) -> list[str]:
        """The metrics whose example scores are known."""
        stored = [key.removeprefix(SCORE) for key in self._of(split) if key.startswith(SCORE)]
        return stored if ACCURACY in stored or self.labels(split) is None else [ACCURACY, *stored]

    def example_scores(self, split: str, metric: str = ACCURACY) -> np.ndarray:
        """The score of every example in [0, 1]: float64 (n,). Raises DigrapError for an unknown metric, and where the
        arrays of the split have different lengths."""
        answers, stored, label = self.answers(split), self._of(split).get(SCORE + metric), self.labels(split)
        if stored is None and (metric != ACCURACY or label is None):
            raise DigrapError(
                f"{self.path} has no scores {metric!r} of split {split}; {nearest(metric, self.metrics(split))}"
            )
        parts = (answers, stored, label, self._truth.get(split, {}).get("id"))
        if len({len(part) for part in parts if part is not None}) > 1 or not len(answers):
            raise DigrapError(f"{self.path} has no whole predictions of split {split}; make the run again")
        return (answers == label).astype(np.float64) if stored is None else stored

    def same_examples(self, other: Bundle, split: str) -> bool:
        """Whether both were tested on the same examples of a split, as far as sizes, labels and ids tell."""
        if self.truth == other.truth:
            return self.size(split) == other.size(split)
        labels = [bundle.labels(split) for bundle in (self, other)]
        if (labels[0] is None) != (labels[1] is None) or self.ids(split) != other.ids(split):
            return False
        return labels[0] is None or np.array_equal(*labels)

    def _of(self, split: str) -> dict[str, Values]:
        if split not in self._predictions:
            raise DigrapError(f"{self.path} has no split {split!r}; {nearest(split, self.splits)}")
        return self._predictions[split]


def write_bundle(
    path: Path,
    splits: Mapping[str, Mapping[str, np.ndarray | Sequence[str]]],
    truth: Mapping[str, Mapping[str, np.ndarray | Sequence[str]]],
    labels_folder: Path | None = None,
) -> str:
    """Write the predictions to `path` and their truth to labels_folder/labels/<digest>.npz, by default beside the
    folder that `path` lies in. Returns the digest.

    `splits` maps a split to its prediction, probability and score.<metric>; `truth` to its label and id. Raises
    DigrapError for scores outside [0, 1].
    """
    kept = {f"{split}.{key}": _small(values) for split, entry in truth.items() for key, values in entry.items()}
    kept = dict(sorted(kept.items()))
    digest = truth_digest(kept)
    file = labels_file(labels_folder or path.parent.parent, digest)
    if not _has_truth(file, digest):
        write_npz(file, kept, path.parent.name)
    content: dict[str, Values] = {"format": np.array(FORMAT, np.uint8), TRUTH: np.array(digest)}
    for split, entry in splits.items():
        for key in (*KEYS, *sorted(key for key in entry if key.startswith(SCORE))):
            if key in entry:
                content[f"{split}.{key}"] = _scores(entry[key], path) if key.startswith(SCORE) else _small(entry[key])
    write_npz(path, content)
    return digest


def read_bundle(path: Path, labels_folder: Path) -> Bundle:
    """The bundle at `path`; labels_folder/labels/ has its truth.

    Raises DigrapError where a file is missing, damaged or of another format, or the truth is not the one the run was
    scored with.
    """
    content = read_npz(path, NAME, remedy=_remedy(path))
    found = content.pop("format", 1)
    if found != FORMAT:
        raise DigrapError(
            f"{path} is a bundle of format {found}, this version reads {FORMAT}; delete {path.parent} and run the same "
            "train.py command again"
        )
    if TRUTH not in content:
        raise DigrapError(f"{path} does not say which labels it belongs to; make the run again")
    digest = _digest(content.pop(TRUTH), path)
    truth = read_npz(labels_file(labels_folder, digest), NAME, remedy=_remedy(path))
    if truth_digest(truth) != digest:
        raise DigrapError(f"{labels_file(labels_folder, digest)}: the labels do not match its name; {_remedy(path)}")
    return Bundle(Path(path), digest, _by_split(content), _by_split(truth))


def _has_truth(file: Path, digest: str) -> bool:
    """Whether a labels file is there and whole; one that is not is written again."""
    try:
        return truth_digest(read_npz(file, NAME)) == digest
    except DigrapError:
        return False


def truth_of(path: Path) -> str:
    """The digest of the truth that a bundle of any format refers to. Raises DigrapError for a damaged one."""
    return _digest(read_npz(path, NAME, (TRUTH,))[TRUTH], path)


def _remedy(path: Path) -> str:
    """What makes the bundle at `path`, or its labels, again."""
    if path.name != PREDICTIONS:
        return "publish the table again"
    command = shlex.join(["python", "evaluate.py", f"run={path.parent}", f"bundle={path.parent}"])
    return f"`{command}` makes it again from the weights"


def _digest(value: Values, path: Path) -> str:
    """The digest in the bundle at `path`: it names a file, so nothing else is taken."""
    if not is_hash(digest := str(value)):
        raise DigrapError(f"{path}: {digest!r:.60} is no digest of labels; make the run again")
    return digest


def labels_file(folder: Path, digest: str) -> Path:
    """The truth of a digest, beside the run folders in `folder`."""
    return folder / "labels" / f"{digest}.npz"


def truth_digest(truth: Mapping[str, Values]) -> str:
    """Ten hexadecimal digits of the truth's content."""
    digest = hashlib.sha256()
    for name, values in sorted(truth.items()):
        if isinstance(values, list):
            digest.update(f"{name} ({len(values)},) ".encode() + as_json(values))
        else:
            digest.update(f"{name} {values.shape} ".encode() + np.ascontiguousarray(values, dtype="<i8").tobytes())
    return digest.hexdigest()[:10]


def _by_split(content: dict[str, Values]) -> dict[str, dict[str, Values]]:
    """{split: {key: values}} of `<split>.<key>`; the name of a split may have dots in it, a metric's may not."""
    result: dict[str, dict[str, Values]] = {}
    for name, values in content.items():
        split, _, key = name.rpartition(".")
        if key not in (*KEYS, "label", "id") and split.endswith("." + SCORE[:-1]):
            split, key = split.removesuffix("." + SCORE[:-1]), SCORE + key
        result.setdefault(split, {})[key] = values
    return result


def _scores(values: np.ndarray | Sequence[float], path: Path) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if not ((array >= 0) & (array <= 1)).all():  # NaN too
        raise DigrapError(f"{path}: scores of examples must lie in [0, 1]")
    return array


def _small(values: np.ndarray | Sequence[str]) -> Values:
    """Strings as a list; else float16, or the smallest integer type that holds every value."""
    if not isinstance(values, np.ndarray):
        return list(values)
    if values.dtype.kind == "f":
        return values.astype(np.float16)
    if values.dtype.kind in "iu":
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        return values.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))
    return values
