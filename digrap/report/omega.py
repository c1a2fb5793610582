"""ω over training, as the paper's Fig. 9 has it: of every layer, vision and language apart, and row beside row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D

from digrap.report.layers import by_layer
from digrap.report.marks import INK, colours, marker
from digrap.runs.history import History

DEPTH = ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, 256)))  # its yellow end vanishes on white
MEAN = "mean over layers"
BOLD = {"color": INK, "linewidth": 2.4, "linestyle": "--"}
NAMES = {"frameon": False, "fontsize": 9, "loc": "center left"}
WIDTH, HEIGHT = 5.0, 2.6  # inches a panel


def omega_over_training(histories: Mapping[str, list[History]], title: str) -> Figure | None:
    """One panel per row and part of the model: ω of every layer and the mean over them, over steps. Above, where
    several rows learn ω, their means in one panel per part.

    `histories` maps a row to those of its runs, of which means are drawn. None where no row learns ω.
    """
    learnt = {row: runs for row, runs in histories.items() if _learns(runs)}
    if not learnt:
        return None
    parts, together = by_layer(learnt, "omega", "steps", apart=True), int(len(learnt) > 1)
    height, width = len(learnt) + together, len(parts)
    figure = Figure(figsize=(WIDTH * width + 1.9, HEIGHT * height + 0.9), layout="constrained")
    grid = figure.add_gridspec(height, width + 1, width_ratios=[*[WIDTH] * width, 1.6])  # the last for what names lines
    for column, (part, curves) in enumerate(parts.items()):
        panels = [figure.add_subplot(grid[place, column]) for place in range(height)]
        curves = {row: _from_zero(curve) for row, curve in curves.items()}
        if together:
            _means(panels[0], list(learnt), curves, f"{part}, {MEAN}")
        for axes, row in zip(panels[together:], learnt, strict=True):
            if row in curves:
                _layers(axes, curves[row], row if list(parts) == ["all layers"] else f"{row}, {part}")
            else:
                axes.set_axis_off()
        panels[-1].set_xlabel("optimizer step")
        for axes in panels:
            axes.tick_params(labelleft=column == 0)
            axes.set_ylabel("ω" if column == 0 else "", rotation="horizontal", labelpad=8)
    top = max(axes.get_ylim()[1] for axes in figure.axes)
    for axes in figure.axes:  # one scale: only the first column has its numbers
        axes.set_ylim(-0.02, top)
    if together:
        _side(figure, grid[0, -1]).legend(*figure.axes[0].get_legend_handles_labels(), **NAMES)
    _layers_named(_side(figure, grid[together:, -1]))
    seeds = max(map(len, learnt.values()))
    figure.suptitle(f"{title}:\nprojection strength ω" + (f", mean over {seeds} seeds" if seeds > 1 else ""))
    return figure


def _side(figure: Figure, place: SubplotSpec) -> Axes:
    axes = figure.add_subplot(place)
    axes.set_axis_off()
    return axes


def _layers_named(axes: Axes) -> None:
    """What the lines of `_layers` are: the mean's, and the colours of depth."""
    axes.legend(handles=[Line2D([], [], label=MEAN, **BOLD)], **NAMES | {"loc": "upper left"})
    place = axes.inset_axes((0.06, 0.05, 0.12, 0.75))
    bar = axes.figure.colorbar(ScalarMappable(cmap=DEPTH), cax=place, ticks=[0, 1])
    bar.set_ticklabels(["first\nlayer", "last\nlayer"])


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
    axes.plot(curve.index, curve.mean(axis=1), label=MEAN, **BOLD)
    _finish(axes, title)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_ylim(top=max(1.02, axes.get_ylim()[1]))
    axes.grid(alpha=0.3)
