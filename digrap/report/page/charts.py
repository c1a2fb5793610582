"""Charts of a table on the page: differences by split, ω and ‖δ‖ layer by layer, accuracy over µ."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from digrap.report.layers import by_layer
from digrap.report.marks import colours, label_beside, marker
from digrap.report.scores import Scores
from digrap.runs.history import History

WIDTH = 11.0  # inches


def differences(scores: Scores) -> Figure | None:
    """Bars of every row's difference to its baseline, one panel per split, with the standard deviation over seeds; None
    without a baseline or without differences."""
    rows = [row for row in scores.table.rows if scores.table.baseline_of(row) not in (None, row)]
    splits = [name for name in scores.printed if scores.columns[name] != "mean"]
    found = {name: [scores.difference(row, name) for row in rows] for name in splits}
    if not rows or not splits or all(math.isnan(mean) for cells in found.values() for mean, *_ in cells):
        return None
    across = min(6, len(splits))
    down = -(-len(splits) // across)
    height = 0.7 + 0.2 * len(rows)
    figure = Figure(figsize=(WIDTH, max(1.6, height) * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True).flat
    palette = dict(zip(scores.table.rows, colours(len(scores.table.rows)), strict=True))
    for axes, (name, cells) in zip(panels, found.items(), strict=False):
        means, spreads = ([cell[k] for cell in cells] for k in (0, 1))
        places, known = np.arange(len(rows)), np.nan_to_num(spreads)
        axes.barh(places, means, xerr=known, color=[palette[row] for row in rows], capsize=2, error_kw={"lw": 0.8})
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(name, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelsize=8)
        axes.set_yticks(places, rows)
    figure.axes[0].invert_yaxis()
    for axes in figure.axes[len(splits) :]:
        axes.set_axis_off()
    figure.supxlabel("difference to the baseline, points", fontsize=9)
    return figure


def omega_map(histories: list[History]) -> Figure | None:
    """ω as a heat map of layers × epochs, one panel per part of the model; None where it is fixed or none is
    learned."""
    parts = {part: rows[""] for part, rows in by_layer({"": histories}, "omega").items()}
    if not parts or all(np.unique(frame.to_numpy().round(6)).size <= 1 for frame in parts.values()):
        return None
    most = max(frame.shape[1] for frame in parts.values())
    figure = Figure(figsize=(WIDTH, 1.4 + 0.17 * most), layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    for axes, (part, frame) in zip(panels, parts.items(), strict=True):
        image = axes.imshow(frame.T, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes.set_yticks(range(frame.shape[1]), frame.columns, fontsize=8)
        step = -(-len(frame) // 10)
        axes.set_xticks(range(0, len(frame), step), frame.index[::step])
        axes.set(title=part, xlabel="epoch")
    figure.colorbar(image, ax=list(panels), label="ω", shrink=0.8)
    return figure


def distances(histories: Mapping[str, list[History]]) -> Figure | None:
    """‖δ‖ of every layer after the last epoch, one line per row, one panel per part of the model; None without
    histories."""
    parts = by_layer(histories, "norm")
    if not parts:
        return None
    figure = Figure(figsize=(WIDTH, 4.2 * len(parts)), layout="constrained")
    palette = {
        row: (colour, marker(place))
        for place, (row, colour) in enumerate(zip(histories, colours(len(histories)), strict=True))
    }
    panels = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for axes, (part, frames) in zip(panels, parts.items(), strict=True):
        lines = {row: frame.iloc[-1] for row, frame in frames.items()}
        layers = list(max((line.index for line in lines.values()), key=len))  # most have some of those of full training
        layers = list(dict.fromkeys([*layers, *(name for line in lines.values() for name in line.index)]))
        labels = []
        for row, line in lines.items():
            colour, shape = palette[row]
            line = line[line > 0].reindex(layers)
            axes.plot(range(len(layers)), line, color=colour, marker=shape, ms=4, linewidth=1)
            if known := [place for place, value in enumerate(line) if not math.isnan(value)]:
                labels.append((row, known[-1], line.iloc[known[-1]], colour, shape))
        axes.set_yscale("log")
        axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=8)
        axes.set(title=part, ylabel="‖δ‖ after the last epoch")
        axes.grid(alpha=0.3)
        label_beside(axes, labels)
    return figure


def over_mu(points: pd.DataFrame) -> Figure | None:
    """ID validation and OOD mean over µ, a line for each setting of the other options, from the columns mu, setting,
    validation and ood (percent), one row per run; None where no setting has two values of µ."""
    wide = points.groupby(["setting", "mu"], sort=False)[["validation", "ood"]].mean().sort_index(level="mu")
    settings = [name for name in dict.fromkeys(points["setting"]) if len(wide.loc[name]) > 1]
    if not settings:
        return None
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    panels, titles = figure.subplots(1, 2), {"validation": "ID validation", "ood": "OOD mean, tested"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        labels = []
        for place, (name, colour) in enumerate(zip(settings, colours(len(settings)), strict=True)):
            line = wide.loc[name][key]
            axes.plot(line.index, line, color=colour, marker=marker(place), ms=6)
            labels.append((name, line.index[-1], line.iloc[-1], colour, marker(place)))
        axes.set(xlabel="µ", ylabel="%", title=title, xticks=sorted(set(points["mu"])))
        axes.grid(alpha=0.3)
        label_beside(axes, labels)
    return figure
