"""The two pictures of a table: ID against OOD accuracy, and ω over training."""

from __future__ import annotations

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digrap.report.layers import histories_of
from digrap.report.marks import Label, colours, label_beside, marker
from digrap.report.matched_column import rates_of
from digrap.report.matched_id import front
from digrap.report.omega import omega_over_training
from digrap.report.scores import Scores

DPI = 150
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
ZERO_SHOT, WISE_FT = "zero_shot", "wise_ft"
GREY = "0.45"


def id_against_ood(scores: Scores) -> Figure | None:
    """One point a row with its standard deviations, the runs as small dots, one panel per block; the front of zero-shot
    and vanilla's learning rates, and the curves of averaged weights, as lines. None where no run is finished."""
    identity, ood = scores.identity, scores.ood_mean
    if identity is None or ood is None or scores.values.empty:
        return None
    blocks: dict[str | None, list[str]] = {}
    for label, row in scores.table.rows.items():
        blocks.setdefault(row.block, []).append(label)
    figure = Figure(figsize=(8.0 * len(blocks), 4.6), layout="constrained")
    panels = figure.subplots(1, len(blocks), squeeze=False, sharex=True, sharey=True)[0]
    labels = []
    for axes, (block, rows) in zip(panels, blocks.items(), strict=True):
        axes.set(
            xlabel=f"ID accuracy, {scores.parts[identity][0]} (%)",
            ylabel="OOD accuracy, mean (%)",
            title=scores.table.title if block is None else block,
        )
        axes.grid(alpha=0.3)
        labels.append(_points(axes, scores, rows, identity, ood))
    for axes, found in zip(panels, labels, strict=True):  # once the limits are final
        label_beside(axes, found)
    if None not in blocks:
        figure.suptitle(scores.table.title)
    return figure


def _points(axes: Axes, scores: Scores, rows: list[str], identity: str, ood: str) -> list[Label]:
    """Draw them; returns their labels."""
    wide = scores.values.pivot_table(index=["row", "seed"], columns="column", values="value")
    there, labels = set(wide.index.get_level_values("row")), []
    for position, (row, colour) in enumerate(zip(rows, colours(len(rows)), strict=True)):
        if row not in there:
            continue
        points = wide.loc[row]
        axes.scatter(points[identity], points[ood], s=12, color=colour, alpha=0.45, linewidths=0)
        (x, dx, _), (y, dy, _) = scores.cell(row, identity), scores.cell(row, ood)
        axes.errorbar(
            x, y, xerr=dx, yerr=dy, fmt=marker(position), color=colour, capsize=2, ms=8,
            markeredgecolor="black", markeredgewidth=0.6, label=row,
        )  # fmt: skip
        if curve := _averaged(scores, row, identity, ood):
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=1, marker=".", ms=4, zorder=1, gid="averages")
        labels.append((row, x, y, colour, marker(position)))
    _front(axes, scores, [row for row in rows if row in there], identity, ood)
    return labels


def _front(axes: Axes, scores: Scores, rows: list[str], identity: str, ood: str) -> None:
    """What zero-shot and vanilla's learning rates reach without a method, as a dashed line; a single point makes none.
    Rates on it that no row prints get a mark and their name, below, where methods are rarely."""
    if not rows:
        return
    untrained = scores.rows_of(ZERO_SHOT)
    points = [(scores.cell(row, identity)[0], scores.cell(row, ood)[0]) for row in rows if row in untrained]
    rates = rates_of(scores, rows[0])
    points += map(tuple, rates.points)
    if len(points) > 1:
        x, y = front(*np.array(points).T)
        axes.plot(x, y, "--", color=GREY, linewidth=1, zorder=0, gid="front")
        _name_the_front(axes, x, y)
    printed = {run.file for run in scores.runs}
    for (name, runs), (x, y) in zip(rates.runs.items(), rates.points, strict=True):
        if name not in rates.beaten and not any(run.file in printed for run in runs.values()):
            axes.plot(x, y, "o", color="white", markeredgecolor=GREY, ms=5, zorder=1)
            _below(axes, f"lr {name}", (x, y))


def has_front(figure: Figure | None) -> bool:
    """Whether the front is seen in it: that of one point is not a line."""
    lines = [line for axes in (figure.axes if figure else ()) for line in axes.lines]
    return any(line.get_gid() == "front" and len(line.get_xdata()) > 1 for line in lines)


def _name_the_front(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """At the middle of its longest piece."""
    if len(x) > 1:
        k = int(np.argmax(np.diff(x)))
        _below(axes, "zero-shot and vanilla", ((x[k] + x[k + 1]) / 2, (y[k] + y[k + 1]) / 2))


def _below(axes: Axes, text: str, place: tuple[float, float]) -> None:
    """A small text below and to the left of a point."""
    style = {"textcoords": "offset points", "fontsize": 8, "color": GREY, "ha": "right", "va": "top"}
    axes.annotate(text, place, (-5, -3), **style)


def _averaged(scores: Scores, row: str, identity: str, ood: str) -> list[tuple[float, float]]:
    """(ID, OOD mean) along WiSE-FT's curve, its ends the model before training and the row whose runs it is initialised
    from, where the table has them; empty for another method."""
    averages = _variants(scores, row) if row in scores.rows_of(WISE_FT) else {}
    if len(averages) < 2:
        return []
    untrained = scores.rows_of(ZERO_SHOT)
    starts = {run.results.start["hash"] for run in scores.runs if run.row == row and run.results.start}
    trained = {run.row for run in scores.runs if run.results.hash in starts}
    ends = {"0": untrained.intersection(scores.table.beside(row)), "1": trained}
    models = {name: (scores.cell(end, identity)[0], scores.cell(end, ood)[0]) for name in ends for end in ends[name]}
    found = averages | models
    return [found[name] for name in sorted(found, key=float)]


def _variants(scores: Scores, row: str) -> dict[str, tuple[float, float]]:
    """Variant → (ID, OOD mean) of those that all runs of a row have tested."""
    kinds, points = scores.source.splits, {}
    runs = [run for run in scores.runs if run.row == row]
    for run in runs:
        for name, tested in run.results.variants.items():
            found = {split: tested[split].get(run.scorer(scores.table.scorer)) for split in kinds if split in tested}
            if len(found) == len(kinds) and None not in found.values():
                ood = [value for split, value in found.items() if kinds[split] != "id_test"]
                identity = [value for split, value in found.items() if kinds[split] == "id_test"]
                points.setdefault(name, []).append((np.mean(identity), np.mean(ood)))
    return {name: tuple(np.mean(found, axis=0)) for name, found in points.items() if len(found) == len(runs)}


def as_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def as_svg(figure: Figure, letters: str = "none") -> bytes:
    """A figure as the bytes of an SVG, alike on every day: without metadata, with ids from the content alone. Text
    stays text, or with letters="path" becomes outlines, alike wherever it is shown."""
    file = io.BytesIO()
    with rc_context({"svg.fonttype": letters, "svg.hashsalt": "digrap"}):
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    return file.getvalue()


def draw(scores: Scores) -> dict[str, Figure]:
    """Every picture that a table's runs give, by the suffix of its file's name; of a published table too."""
    title = scores.table.title
    pictures = {"id_ood": id_against_ood(scores), "omega": omega_over_training(histories_of(scores), title)}
    return {name: figure for name, figure in pictures.items() if figure is not None}
