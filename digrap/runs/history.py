"""Statistics of a model's layers over training, kept small: what figures of a run are drawn from.

At each epoch's end a run logs `{"event": "layers", "epoch", "step", "tensors": {name: {…}}}` in metrics.jsonl, where a
tensor has `norm`, ‖δ‖ of its distance δ from the pre-trained weights, and `relative`, ‖δ‖ / ‖θ0‖ (null where θ0 is 0);
with DiGraP also `omega`, `removed` (the share of the gradient's energy projected out) and `conflict` (the share of
steps with <g, δ> < 0). Within an epoch there are three more such records of `omega` alone. Published tables carry the
same as an npz of float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digrap.core.errors import DigrapError
from digrap.runs.folder import RunFolder
from digrap.runs.npz import npz_bytes, read_npz

EVENT = "layers"
NAME = "the history"  # in errors


@dataclass(frozen=True)
class History:
    """`values` maps a statistic to float32 (records, tensors), NaN where a tensor has none; `steps` and `epochs`
    (records,) are those of the records, `tensors` the names."""

    tensors: tuple[str, ...]
    steps: np.ndarray
    epochs: np.ndarray
    values: dict[str, np.ndarray]


def history_of(folder: RunFolder) -> History | None:
    """The history in a run's metrics.jsonl; None where it has none. Raises DigrapError for a damaged one."""
    records = [record for record in folder.metrics() if record["event"] == EVENT]
    if not records:
        return None
    try:
        tensors = tuple(dict.fromkeys(name for record in records for name in record["tensors"]))
        keys = dict.fromkeys(key for record in records for entry in record["tensors"].values() for key in entry)
        steps, epochs = (np.array([int(record[key]) for record in records], np.int64) for key in ("step", "epoch"))
        values = {key: np.full((len(records), len(tensors)), np.nan, np.float32) for key in keys}
        for place, record in enumerate(records):
            for column, name in enumerate(tensors):
                for key, value in record["tensors"].get(name, {}).items():
                    values[key][place, column] = math.nan if value is None else value
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{folder.metrics_file} has a damaged {EVENT!r} record ({error!r}); make the run again"
        raise DigrapError(message) from error
    return History(tensors, steps, epochs, values)


def history_bytes(history: History) -> bytes:
    """A history as the bytes of a npz; they depend on its content alone."""
    return npz_bytes(_content(history))


def read_history(path: Path) -> History:
    """A history from a file of `history_bytes`. Raises DigrapError where it is missing or damaged."""
    content = read_npz(path, NAME, remedy="publish the table again")
    try:
        tensors, steps, epochs = tuple(content.pop("tensors")), content.pop("steps"), content.pop("epochs")
        values = {key: content[key] for key in sorted(content)}
        if len(epochs) != len(steps) or any(value.shape != (len(steps), len(tensors)) for value in values.values()):
            raise ValueError("its arrays differ in size")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DigrapError(f"{path}: {NAME} cannot be read ({error}); publish the table again") from error
    return History(tensors, steps, epochs, values)


def _content(history: History) -> dict[str, np.ndarray | list[str]]:
    axes = {"tensors": list(history.tensors), "steps": history.steps, "epochs": history.epochs}
    return axes | {key: history.values[key].astype(np.float32) for key in sorted(history.values)}
