"""Colours and labels of figures: no colour twice, and names beside the points instead of a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

# Okabe and Ito's, without yellow (it vanishes on white), then Tol's muted ones: told apart by colour-blind readers too.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999933", "#332288",
    "#661100", "#888888", "#44AA99", "#AA4499",
)  # fmt: skip
MARKERS = "oDs^vP*X<>hd"
INK = "#222222"
Label = tuple[str, float, float, str, str]  # text, x, y, colour, marker


def colours(count: int) -> list[str]:
    """`count` colours, no two alike."""
    more = count - len(COLOURS)
    return [*COLOURS[:count], *(to_hex(colormaps["turbo"]((k + 0.5) / more)) for k in range(more))]


def marker(place: int) -> str:
    """The marker of the row at a place; they repeat after twelve, colours do not."""
    return MARKERS[place % len(MARKERS)]


def spread(wanted: Sequence[float], gap: float) -> np.ndarray:
    """Places as near to the wanted ones in [0, 1] as a distance of `gap` between neighbours lets them be."""
    order = np.argsort(wanted, kind="stable")
    places = np.asarray(wanted, float)[order]
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + gap)
    places[-1:] = np.minimum(places[-1:], 1.0)
    for k in reversed(range(len(places) - 1)):
        places[k] = min(places[k], places[k + 1] - gap)
    result = np.empty_like(places)
    result[order] = places
    return result


def label_beside(axes: Axes, labels: Sequence[Label]) -> None:
    """Write the names of points right of the axes, each joined to its point.

    The axes' limits have to be final.
    """
    points = [axes.transAxes.inverted().transform(axes.transData.transform((x, y))) for _, x, y, *_ in labels]
    height = axes.figure.get_figheight() * axes.get_subplotspec().get_position(axes.figure).height
    places = spread([min(max(float(y), 0.0), 1.0) for _, y in points], gap=0.18 / height)  # inches a line of text
    for (text, x, y, colour, shape), place in zip(labels, places, strict=True):
        line = dict(arrowstyle="-", color=colour, alpha=0.55, linewidth=0.8, shrinkA=0, shrinkB=3)
        axes.annotate(
            "", xy=(x, y), xytext=(1.02, place), textcoords="axes fraction", arrowprops=line, annotation_clip=False
        )
        key = dict(transform=axes.transAxes, clip_on=False, color=colour, ms=6, markeredgecolor=INK)
        axes.plot(1.03, place, marker=shape, markeredgewidth=0.4, linestyle="none", **key)
        axes.text(1.05, place, text, transform=axes.transAxes, va="center", fontsize=9, color=INK)
