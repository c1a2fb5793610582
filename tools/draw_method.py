"""The method in a picture: `python -m tools.draw_method [out=docs/pictures/method.svg]`.

Two weights, so that δ, the gradient and its projection are arrows in a plane. Every move that is drawn is a step that
`digrap.optim.DiGraP` takes, over SGD with learning rate 1. Takes two seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.core.files import write_atomically
from digrap.core.paths import REPO
from digrap.optim import DiGraP
from digrap.report.figures import as_svg
from digrap.report.marks import COLOURS, INK

DEFAULTS = {"out": str(REPO / "docs" / "pictures" / "method.svg")}
ANCHOR, WEIGHTS = (0.0, 0.0), (2.0, 1.0)
AWAY, BACK = (-0.95, -1.3), (1.2, -0.75)  # gradients whose descent moves away from the anchor, and back to it
BLUE, RED, GREEN = COLOURS[:3]
PLAIN = "#777777"


def move(gradient: tuple[float, float], omega: float) -> np.ndarray:
    """The step −g' that DiGraP takes at WEIGHTS with this gradient and ω."""
    weights = torch.nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
    anchor = [torch.tensor(ANCHOR, dtype=torch.float64)]
    optimizer = DiGraP([weights], lr=1.0, base="sgd", anchor=anchor, omega=omega)
    weights.grad = torch.tensor(gradient, dtype=torch.float64)
    optimizer.step()
    return weights.detach().numpy() - np.array(WEIGHTS)


def draw() -> Figure:
    """The two cases side by side, on white: readable on light and dark pages."""
    figure = Figure(figsize=(9.6, 3.9), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    _plane(left, "⟨g, δ⟩ < 0: descent would move away from θ₀")
    plain, half, full = (move(AWAY, omega) for omega in (0.0, 0.5, 1.0))
    _arrow(left, plain, PLAIN, "−g, as AdamW\nor SGD has it", (0.08, 0.05))
    _arrow(left, half, BLUE, "−g′ with ω = ½", (0.1, 0.16), "right")
    _arrow(left, full, GREEN, "−g′ with ω = 1:\nno push left", (-0.1, 0.02), "right")
    _arrow(left, plain - full, RED, "−p, the push\nalong δ", (0.06, -0.12))
    ends = np.array([plain, full]) + WEIGHTS
    left.plot(*ends.T, ":", color=RED, linewidth=1.2, zorder=1)
    _plane(right, "⟨g, δ⟩ ≥ 0: descent moves back, nothing is projected")
    _arrow(right, move(BACK, 1.0), BLUE, "−g′ = −g", (-0.05, 0.1), "right")
    figure.supxlabel(
        "p = ⟨g, δ⟩ / ‖δ‖² · δ        g′ = g − ω p,  0 ≤ ω ≤ 1 learnt for every tensor", fontsize=12, color=INK
    )
    return figure


def _plane(axes: Axes, title: str) -> None:
    """The anchor, circles around it, the weights and δ."""
    for radius in np.linalg.norm(WEIGHTS) * np.array([0.5, 1.0, 1.5]):
        axes.add_patch(Circle(ANCHOR, radius, fill=False, color="#dddddd", linewidth=1, zorder=0))
    _arrow(axes, np.array(WEIGHTS), INK, "δ = θ − θ₀", (-0.95, -0.75), start=ANCHOR)
    for (x, y), name, offset in ((ANCHOR, "θ₀, pre-trained", (0.0, -0.27)), (WEIGHTS, "θ", (0.06, -0.28))):
        axes.plot(x, y, "o", color=INK, ms=6, zorder=4)
        axes.text(x + offset[0], y + offset[1], name, color=INK, fontsize=11)
    axes.set(title=title, xlim=(-0.5, 4.35), ylim=(-0.5, 2.75), aspect="equal")
    axes.title.set(fontsize=11.5, color=INK)
    axes.set_axis_off()


def _arrow(
    axes: Axes,
    step: np.ndarray,
    colour: str,
    name: str,
    offset: tuple[float, float],
    side: str = "left",
    start: tuple[float, float] = WEIGHTS,
) -> None:
    """An arrow with its name at the head."""
    end = np.array(start) + step
    axes.annotate(
        "", xy=end, xytext=start, arrowprops=dict(arrowstyle="-|>", color=colour, linewidth=2, shrinkA=0, shrinkB=0)
    )
    axes.text(*(end + offset), name, color=colour, fontsize=10.5, ha=side, va="center")


def main() -> None:
    """Draw and write."""
    out = Path(bare_keys(sys.argv[1:], DEFAULTS).out)
    data = as_svg(draw(), letters="path")
    write_atomically(out, lambda file: file.write(data))
    print(f"written: {out}, {len(data) / 1000:.0f} kB")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
