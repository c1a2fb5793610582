"""results.json: the scores of a run, and what the run was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError, nearest
from digrap.core.json_files import read_json
from digrap.runs.results_shape import NO_METRICS, REQUIRED, faults

SCHEMA = 1
OOD = ("near_ood", "far_ood")
REMEDY = "delete it and run the same train.py command again"
PUBLISH_AGAIN = "publish the table again"  # where the file is a published one


@dataclass(frozen=True)
class Validation:
    """All that selection sees of a run: its ID-validation score in percent, over n examples."""

    score: float
    n: int


@dataclass(frozen=True)
class Results:
    """The content of a results.json.

    `scores` maps a split to its kind, its number of examples n and its scores in percent, by metric; `metric` names
    the one that chose the checkpoint. `selection` has split, epoch and score. `weights` is the path of the tested
    weights within the run folder, None where nothing was trained, and `weights_sha256` its digest, None as well for
    runs made before it was kept; `start` the method and hash of the run that it was
    initialised from. `plain` is the file's content as it is.
    """

    hash: str
    dataset: str
    backbone: str
    method: str
    metric: str
    seed: int
    selection: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    weights: str | None
    weights_sha256: str | None
    start: dict[str, Any] | None
    protocol: str | None
    caveats: tuple[str, ...]
    variants: dict[str, dict[str, Any]]
    commit: str
    dirty: bool | None
    device: str
    versions: dict[str, str]
    schema: int
    plain: dict[str, Any]

    @property
    def smoke(self) -> bool:
        """Whether this was a smoke run, whose scores mean nothing."""
        return self.plain.get("smoke", False)

    @property
    def measured(self) -> dict[str, Any]:
        """Examples a second in tests (evaluated_per_s) and the peak memory in MB, of the run's last start; {} for runs
        made before it was kept."""
        return self.plain.get("measured", {})

    @classmethod
    def parse(cls, plain: dict[str, Any], file: Path, remedy: str = REMEDY) -> Results:
        """The results in the value of `file`. Raises DigrapError, which ends in the remedy, where it is of another
        schema or not whole."""
        if (found := plain.get("schema")) != SCHEMA:
            raise DigrapError(f"{file} has schema {found}, this version reads {SCHEMA}; {remedy}")
        if fault := next(faults(plain), None):
            raise DigrapError(f"{file} is damaged ({fault}); {remedy}")
        # The first release called caveats marks.
        optional = {
            "weights_sha256": plain.get("weights_sha256"),
            "start": plain.get("start"), "protocol": plain.get("protocol"),
            "caveats": tuple(plain.get("caveats", plain.get("marks", ()))), "variants": plain.get("variants", {}),
        }  # fmt: skip
        return cls(**{key: plain[key] for key in REQUIRED}, **optional, schema=found, plain=plain)

    @property
    def validation(self) -> Validation:
        """What selection sees of the run."""
        return Validation(float(self.selection["score"]), self.scores[self.selection["split"]]["n"])

    def metrics(self, split: str) -> list[str]:
        """The names of a split's scores; none for an unknown split."""
        return [key for key in self.scores.get(split, {}) if key not in NO_METRICS]

    def mean(self, kinds: tuple[str, ...]) -> float:
        """The mean over the splits of some kinds in percent, by the metric that chose the checkpoint; NaN without any,
        and where one of them has no such score."""
        return mean_of(self.scores, self.metric, kinds)

    def score(self, split: str, metric: str | None = None) -> float:
        """A split's score in percent; by default of the metric that chose the checkpoint.

        Raises DigrapError, naming the splits or metrics that exist, for an unknown one.
        """
        metric = self.metric if metric is None else metric
        if split not in self.scores:
            raise DigrapError(f"run {self.hash} has no split {split!r}; {nearest(split, self.scores)}")
        if metric not in (known := self.metrics(split)):
            raise DigrapError(f"run {self.hash} has no {metric!r} of split {split}; {nearest(metric, known)}")
        return float(self.scores[split][metric])


def mean_of(scores: dict[str, dict[str, Any]], metric: str, kinds: tuple[str, ...]) -> float:
    """The mean over the splits of some kinds in percent; NaN without any, and where one of them has no such score."""
    found = [one.get(metric, math.nan) for one in scores.values() if one["kind"] in kinds]
    return sum(found) / len(found) if found else math.nan


def read_results(file: Path, remedy: str = REMEDY) -> Results:
    """A results.json, of a run folder or published. Raises DigrapError where it is damaged or of another schema."""
    return Results.parse(read_mapping(file, remedy), file, remedy)


def read_mapping(file: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file of ours. Raises DigrapError, which ends in the remedy, where there is none."""
    try:
        plain = read_json(file, "a JSON object")
    except DigrapError as error:
        raise DigrapError(f"{file} is damaged ({error.__cause__ or 'it is empty'}); {remedy}") from error
    if not isinstance(plain, dict):
        raise DigrapError(f"{file} is damaged (it holds no mapping); {remedy}")
    return plain
