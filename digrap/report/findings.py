"""What a projection did, in two sentences a row: where ω is large and small, what was projected out, and how far the
weights went. Numbers are means over the row's runs; those of single steps are of each epoch's last one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from digrap.report.layers import by_layer, histories_of, mean_over_seeds, parted, readable
from digrap.report.scores import Scores
from digrap.runs.history import History

METHOD = "digrap"
NAMED = 2  # layers at either end
LITTLE = 0.01  # share of a tensor's gradient energy
SMALL = 0.5  # of ω: less than a quarter of what ω = 1 would take


def findings(scores: Scores) -> list[str]:
    """Two sentences on every row that projects, or that it was not measured."""
    histories = histories_of(scores)
    projecting = scores.rows_of(METHOD)
    result = []
    for row, runs in histories.items():
        removed = mean_over_seeds(runs, "removed", "epochs")
        if removed is not None:
            parts = {part: rows[""].iloc[-1] for part, rows in by_layer({"": runs}, "omega").items()}
            layers = pd.concat([of_part.rename(_names(part, of_part.index)) for part, of_part in parts.items()])
            text = f"{row}: {_strength(parts, layers)} {_taken(removed, layers.mean())}"
            result.append(text + _distance(histories, row, scores.table.baseline_of(row)) + ".")
        elif row in projecting:
            result.append(f"{row}: what it projected was not measured; its runs have no statistics of layers.")
    return result


def _strength(parts: dict[str, pd.Series], layers: pd.Series) -> str:
    """A sentence on ω after the last epoch, of each part's layers and of all of them under their names."""
    if layers.max() == layers.min():
        return f"ω is {layers.iloc[0]:.2f} in every layer."
    means = " and ".join(f"{of_part.mean():.2f} on average over {part}" for part, of_part in parts.items())
    order = layers.sort_values(kind="stable")
    count = min(NAMED, len(order) // 2)
    return f"ω ended at {means}, largest in {_listed(order[::-1][:count])}, smallest in {_listed(order[:count])}."


def _names(part: str, layers: Iterable[str]) -> dict[str, str]:
    """Layer or tensor of a part → its name in a sentence."""
    tower = "" if part == "all layers" else part.removesuffix("layers")
    return {layer: tower + name for layer, name in readable(layers).items()}


def _listed(layers: pd.Series) -> str:
    return " and ".join(f"{name} ({value:.2f})" for name, value in layers.items())


def _taken(removed: pd.DataFrame, omega: float) -> str:
    """What the projection took, from epochs × tensors and the mean of ω after the last epoch."""
    shares = removed.mean()
    if shares.max() == 0:
        return "The projection took nothing"
    names = {
        tensor: name for part, tensors in parted(shares.index).items() for tensor, name in _names(part, tensors).items()
    }
    median, most, where = 100 * shares.median(), 100 * shares.max(), names[shares.idxmax()]
    small = "ω is small and " if omega < SMALL else ""
    why = f", little because {small}δ is one direction of the many" if median < 100 * LITTLE else ""
    return (
        f"The projection took {median:.2g} % of a tensor's gradient energy in the median and {most:.2g} % at most "
        f"({where}){why}"
    )


def _distance(histories: dict[str, list[History]], row: str, baseline: str | None) -> str:
    """How far the weights went, next to the baseline's."""
    if baseline in (None, row):
        return ""
    own, other = (mean_over_seeds(histories[name], "norm", "epochs") for name in (row, baseline))
    if own is None or other is None or set(own) != set(other):
        return ""
    ends = [float(np.sqrt((frame.iloc[-1] ** 2).sum())) for frame in (own, other)]
    return f"; the weights ended {ends[0] / ends[1]:.2f} times as far from the pre-trained ones as with {baseline}"
