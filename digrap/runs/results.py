"""results.json: the scores of a run, and what the run was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError, nearest

SCHEMA = 1
NO_METRICS = ("kind", "n")  # of a split's entry: all other keys are scores


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

    @classmethod
    def parse(cls, plain: Any, file: Path) -> Results:
        """The results in the value of `file`. Raises DigrapError where it is of another schema or not whole."""
        found = plain.get("schema") if isinstance(plain, dict) else None
        if found != SCHEMA:
            raise DigrapError(f"{file} has schema {found}, this version reads {SCHEMA}; make the run again")
        if missing := [key for key in REQUIRED if key not in plain]:
            raise DigrapError(f"{file} is damaged (no {', '.join(missing)}); {REMEDY}")
        for key in ("selection", "scores", "versions", "variants"):
            if not isinstance(plain.get(key, {}), dict):
                raise DigrapError(f"{file} is damaged ({key} is no mapping); {REMEDY}")
        if not {"split", "score"} <= plain["selection"].keys():
            raise DigrapError(f"{file} is damaged (selection has no split or score); {REMEDY}")
        for split, scores in plain["scores"].items():
            if not isinstance(scores, dict) or not {"kind", "n"} <= scores.keys():
                raise DigrapError(f"{file} is damaged (scores of {split} have no kind or n); {REMEDY}")
        # The first release called caveats marks.
        optional = {
            "weights_sha256": plain.get("weights_sha256"),
            "start": plain.get("start"), "protocol": plain.get("protocol"),
            "caveats": tuple(plain.get("caveats", plain.get("marks", ()))), "variants": plain.get("variants", {}),
        }  # fmt: skip
        return cls(**{key: plain[key] for key in REQUIRED}, **optional, schema=found, plain=plain)

    def metrics(self, split: str) -> list[str]:
        """The names of a split's scores; none for an unknown split."""
        entry = self.scores.get(split)
        return [key for key in entry if key not in NO_METRICS] if isinstance(entry, dict) else []

    def score(self, split: str, metric: str | None = None) -> float:
        """A split's score in percent; by default of the metric that chose the checkpoint.

        Raises DigrapError, naming the splits or metrics that exist, for an unknown one.
        """
        metric = self.metric if metric is None else metric
        if split not in self.scores:
            raise DigrapError(f"run {self.hash} has no split {split!r}; {nearest(split, self.scores)}")
        if metric not in (known := self.metrics(split)):
            raise DigrapError(f"run {self.hash} has no {metric!r} of split {split}; {nearest(metric, known)}")
        try:
            return float(self.scores[split][metric])
        except (TypeError, ValueError) as error:
            raise DigrapError(f"run {self.hash}: {metric} of split {split} is no number; make it again") from error


REQUIRED = (
    "hash", "dataset", "backbone", "method", "metric", "seed", "selection", "weights", "scores", "commit", "dirty",
    "device", "versions",
)  # fmt: skip
REMEDY = "delete it and run the same train.py command again"


def read_results(file: Path) -> Results:
    """A results.json, of a run folder or published. Raises DigrapError where it is damaged or of another schema."""
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DigrapError(f"{file} is damaged ({error}); {REMEDY}") from error
    return Results.parse(plain, file)
