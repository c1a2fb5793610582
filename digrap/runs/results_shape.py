"""What a results.json must look like inside, so that whoever reads one may rely on it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

HASH = re.compile(r"[0-9a-f]{10}")  # of a run, and of the truth of its splits: both name files
NO_METRICS = ("kind", "n")  # of a split's entry: all other keys are scores
Rule = tuple[Callable[[Any], bool], str]


def is_hash(value: Any) -> bool:
    """Whether a value is the hash of a run or of a truth: ten hexadecimal digits."""
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _or_null(rule: Rule) -> Rule:
    check, what = rule
    return lambda value: value is None or check(value), f"{what} or null"


TEXT: Rule = (lambda value: isinstance(value, str), "a text")
NUMBER: Rule = (is_number, "a number")
WHOLE: Rule = (_is_whole, "a whole number")
RUN: Rule = (is_hash, "the hash of a run")
FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
TEXTS: Rule = (
    lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "a list of texts",
)
MAPPING: Rule = (lambda value: isinstance(value, dict), "a mapping")
VERSIONS: Rule = (lambda value: isinstance(value, dict) and all(map(TEXT[0], value.values())), "a mapping of texts")

REQUIRED: dict[str, Rule] = {
    "hash": RUN, "dataset": TEXT, "backbone": TEXT, "method": TEXT, "metric": TEXT, "seed": WHOLE,
    "selection": MAPPING, "weights": _or_null(TEXT), "scores": MAPPING, "commit": TEXT, "dirty": _or_null(FLAG),
    "device": TEXT, "versions": VERSIONS,
}  # fmt: skip
OPTIONAL: dict[str, Rule] = {
    "weights_sha256": _or_null(TEXT),
    "start": _or_null(MAPPING), "protocol": _or_null(TEXT), "caveats": TEXTS, "marks": TEXTS, "variants": MAPPING,
    "decoding": MAPPING, "eval_order": TEXT, "dropped": MAPPING, "skipped": MAPPING, "smoke": FLAG,
    "measured": MAPPING,
}  # fmt: skip
# Every key of what train.py and evaluate.py say of a run but for a backbone's remarks, whose names must be others.
KEYS = frozenset({*REQUIRED, *OPTIONAL, "schema", "commits", "processes", "eval_batch_size", "run"})
SELECTION: dict[str, Rule] = {"split": TEXT, "epoch": _or_null(WHOLE), "score": NUMBER}
START: dict[str, Rule] = {"method": TEXT, "hash": RUN}
SPLIT: dict[str, Rule] = {"kind": TEXT, "n": WHOLE}


def faults(plain: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the content of a results.json: `no <key>`, or `<key> is …, not …`."""
    if missing := [key for key in REQUIRED if key not in plain]:
        yield f"no {', '.join(missing)}"
        return
    yield from _wrong(plain, REQUIRED | {key: rule for key, rule in OPTIONAL.items() if key in plain}, "")
    if isinstance(selection := plain["selection"], dict):
        yield from _wrong(selection, SELECTION, "selection.")
    if isinstance(start := plain.get("start"), dict):
        yield from _wrong(start, START, "start.")
    if isinstance(scores := plain["scores"], dict):
        yield from split_faults(scores)
        if isinstance(selection, dict) and selection.get("split") not in scores:
            yield f"selection.split is {selection.get('split')!r}, which scores lack"
    if isinstance(variants := plain.get("variants"), dict):
        yield from variant_faults(variants, "variants.")


def variant_faults(variants: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """What is wrong with {variant: scores of its splits}."""
    for name, scores in variants.items():
        if isinstance(scores, dict):
            yield from split_faults(scores, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} is {_shown(scores)}, not a mapping"


def split_faults(scores: dict[str, Any], prefix: str = "scores.") -> Iterator[str]:
    """What is wrong with {split: {kind, n, scores in percent by metric}}."""
    for split, entry in scores.items():
        if not isinstance(entry, dict):
            yield f"{prefix}{split} is {_shown(entry)}, not a mapping"
            continue
        metrics = {key: NUMBER for key in entry if key not in NO_METRICS}
        yield from _wrong(entry, SPLIT | metrics, f"{prefix}{split}.")


def _wrong(plain: dict[str, Any], rules: dict[str, Rule], prefix: str) -> Iterator[str]:
    for key, (check, what) in rules.items():
        if key not in plain:
            yield f"no {prefix}{key}"
        elif not check(plain[key]):
            yield f"{prefix}{key} is {_shown(plain[key])}, not {what}"


def _shown(value: Any) -> str:
    return f"{value!r:.60}"
