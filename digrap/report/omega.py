"""ω over training, as the paper's Fig. 9 has it: of every layer, vision and language apart, and row beside row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from digrap.report.layers import by_layer
from digrap.report.marks import INK, colours, marker
from digrap.runs.history import History

DEPTH = ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, 256)))  # its yellow end vanishes on white
MEAN = "mean over layers"
WIDTH, HEIGHT = 5.0, 2.6  # inches a panel


def omega_over_training(histories: Mapping[str, list[History]], title: str) -> Figure | None:
    """A panel a row and part of the model: ω of every layer and the mean over them, over steps. Above, where several
    rows learn ω, their means in one panel a part.

    `histories` maps a row to those of its runs, of which means are drawn. None where no row learns ω.
    """
    learnt = {row: runs for row, runs in histories.items() if _learns(runs)}
    if not learnt:
        return None
    parts, together = by_layer(learnt, "omega", "steps"), len(learnt) > 1
    height = len(learnt) + together
    figure = Figure(figsize=(WIDTH * len(parts) + 1.4, HEIGHT * height + 0.9), layout="constrained")
    panels = figure.subplots(height, len(parts), squeeze=False, sharey=True)
    for column, (part, curves) in zip(panels.T, parts.items(), strict=True):
        curves = {row: _from_zero(curve) for row, curve in curves.items()}
        if together:
            _means(column[0], list(learnt), curves, f"{part}, {MEAN}")
        for axes, row in zip(column[int(together) :], learnt, strict=True):
            if row in curves:
                _layers(axes, curves[row], row if list(parts) == ["all layers"] else f"{row}, {part}")
            else:
                axes.set_axis_off()
        column[-1].set_xlabel("optimizer step")
    for axes in panels[:, 0]:
        axes.set_ylabel("ω", rotation=0, labelpad=10)  # on its side it reads as a 3
    named: dict[str, Artist] = {}
    for axes in panels.flat:
        lines, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, lines, strict=True))
    figure.legend(named.values(), named, frameon=False, fontsize=9, loc="outside upper center", ncols=6)
    bar = figure.colorbar(ScalarMappable(cmap=DEPTH), ax=list(panels[int(together) :].flat), ticks=[0, 1], aspect=30)
    bar.set_ticklabels(["first\nlayer", "last\nlayer"])
    seeds = max(map(len, learnt.values()))
    figure.suptitle(f"{title}: projection strength ω" + (f", mean over {seeds} seeds" if seeds > 1 else ""))
    return figure


def _learns(runs: list[History]) -> bool:
    """Whether ω changes in one of them: it may be fixed, or not be there."""
    known = [run.values["omega"] for run in runs if "omega" in run.values]
    return any(np.unique(values[~np.isnan(values)]).size > 1 for values in known)


def _from_zero(curve: pd.DataFrame) -> pd.DataFrame:
    """With the start, where ω is 0."""
    curve = curve.copy()
    curve.loc[0] = 0.0
    return curve.sort_index()


def _means(axes: Axes, rows: list[str], curves: Mapping[str, pd.DataFrame], title: str) -> None:
    """The mean over layers of each row."""
    for place, (row, colour) in enumerate(zip(rows, colours(len(rows)), strict=True)):
        if row in curves:
            mean = curves[row].mean(axis=1)
            axes.plot(mean.index, mean, color=colour, marker=marker(place), ms=5, linewidth=1.6, label=row)
    _finish(axes, title)


def _layers(axes: Axes, curve: pd.DataFrame, title: str) -> None:
    """Every layer in the colour of its depth, and their mean."""
    for place, layer in enumerate(curve.columns):
        colour = DEPTH(place / max(curve.shape[1] - 1, 1))
        axes.plot(curve.index, curve[layer], color=colour, alpha=0.75, linewidth=1)
    axes.plot(curve.index, curve.mean(axis=1), color=INK, linewidth=2.4, linestyle="--", label=MEAN)
    _finish(axes, title)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_ylim(-0.02, max(1.02, axes.get_ylim()[1]))
    axes.grid(alpha=0.3)
