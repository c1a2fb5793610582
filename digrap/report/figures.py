"""The two pictures of a table: ID against OOD accuracy, and ω over training."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digrap.report.scores import Scores
from digrap.runs.history import History

MARKERS = "oDs^vP*X<>hd"
DPI = 150
LEGEND_INSIDE = 6  # rows


def id_against_ood(scores: Scores) -> Figure | None:
    """One point a row with its standard deviations, the runs as small dots, a panel a block; None where no run is
    finished."""
    identity, ood = scores.identity, scores.ood_mean
    if identity is None or ood is None or scores.values.empty:
        return None
    blocks: dict[str | None, list[str]] = {}
    for label, row in scores.table.rows.items():
        blocks.setdefault(row.block, []).append(label)
    many = max(map(len, blocks.values())) > LEGEND_INSIDE
    figure = Figure(figsize=((8.6 if many else 6.4) * len(blocks), 4.6), layout="constrained")
    panels = figure.subplots(1, len(blocks), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (block, rows) in zip(panels, blocks.items(), strict=True):
        _points(axes, scores, rows, identity, ood)
        axes.set(
            xlabel=f"ID accuracy, {scores.parts[identity][0]} (%)",
            ylabel="OOD accuracy, mean (%)",
            title=scores.table.title if block is None else block,
        )
        axes.grid(alpha=0.3)
        beside = dict(loc="center left", bbox_to_anchor=(1, 0.5)) if many else {}  # inside, it would cover points
        axes.legend(frameon=False, fontsize=9, **beside)
    if None not in blocks:
        figure.suptitle(scores.table.title)
    return figure


def _points(axes: Axes, scores: Scores, rows: list[str], identity: str, ood: str) -> None:
    wide = scores.values.pivot_table(index=["row", "seed"], columns="column", values="value")
    colours = (*colormaps["tab10"].colors, "black", "gold")  # as many as markers
    for position, row in enumerate(rows):
        if row not in wide.index.get_level_values("row"):
            continue
        points, colour = wide.loc[row], colours[position % len(colours)]
        axes.scatter(points[identity], points[ood], s=12, color=colour, alpha=0.45, linewidths=0)
        (x, dx, _), (y, dy, _) = scores.cell(row, identity), scores.cell(row, ood)
        axes.errorbar(
            x, y, xerr=dx, yerr=dy, fmt=MARKERS[position % len(MARKERS)], color=colour, capsize=2, ms=8,
            markeredgecolor="black", markeredgewidth=0.6, label=row,
        )  # fmt: skip


def omega_over_training(histories: Mapping[str, list[History]], title: str) -> Figure | None:
    """A panel a row: ω of every tensor (thin, mean over seeds) and the mean of every block (bold), over steps.

    `histories` maps a row to those of its runs. None where no row learns ω.
    """
    curves = {row: _mean_over_seeds(runs) for row, runs in histories.items()}
    curves = {row: curve for row, curve in curves.items() if curve is not None}
    if not curves:
        return None
    figure = Figure(figsize=(1.5 + 5.5 * len(curves), 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, (row, curve) in zip(panels, curves.items(), strict=True):
        block_of = _blocks(list(curve.columns))
        blocks = list(dict.fromkeys(block_of.values()))
        for position, block in enumerate(blocks):
            colour = colormaps["viridis"](position / max(len(blocks) - 1, 1) * 0.92)
            members = curve[[name for name in curve.columns if block_of[name] == block]]
            axes.plot(members.index, members, color=colour, alpha=0.18, linewidth=0.7)
            axes.plot(members.index, members.mean(axis=1), color=colour, linewidth=2.2, label=block)
        axes.set(xlabel="step", ylabel="ω", title=row, ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    panels[-1].legend(title="block, mean", frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(f"{title}: projection strength")
    return figure


def _mean_over_seeds(runs: list[History]) -> pd.DataFrame | None:
    """Steps × tensors, from ω = 0 at the start; None for a fixed ω or none at all."""
    frames = [
        pd.DataFrame(run.values["omega"].astype(float), index=run.steps, columns=list(run.tensors)).dropna(
            axis=1, how="all"
        )
        for run in runs
        if "omega" in run.values
    ]
    if all(frame.melt()["value"].nunique() <= 1 for frame in frames):
        return None
    together = pd.concat(frames)
    curve = together.groupby(level=0).mean()[list(dict.fromkeys(together.columns))]
    curve.loc[0] = 0.0
    return curve.sort_index()


def _blocks(tensors: list[str]) -> dict[str, str]:
    """Tensor → the part of the model that it belongs to: the first component in which the names differ, but not the
    tensor's own name in its layer."""
    parts = {name: name.split(".") for name in tensors}
    alike = len(os.path.commonprefix(list(parts.values())))
    return {name: found[max(min(alike, len(found) - 2), 0)] for name, found in parts.items()}


def as_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def draw(scores: Scores) -> dict[str, Figure]:
    """Every picture that a table's runs give, by the suffix of its file's name; of a published table too."""
    histories: dict[str, list[History]] = {row: [] for row in scores.table.rows}
    for run in scores.runs:
        if (history := run.history()) is not None:
            histories[run.row].append(history)
    title = scores.table.title
    pictures = {"id_ood": id_against_ood(scores), "omega": omega_over_training(histories, title)}
    return {name: figure for name, figure in pictures.items() if figure is not None}
