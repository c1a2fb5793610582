"""Numbers as text, as every table and verdict prints them."""

from __future__ import annotations

import math

EMPTY = "—"


def format_score(mean: float, std: float) -> str:
    """`79.3 ± 0.4`; without the spread where one run gives none; `—` for no run."""
    if math.isnan(mean):
        return EMPTY
    return f"{mean:.1f}" if math.isnan(std) else f"{mean:.1f} ± {std:.1f}"


def format_interval(gain: float, low: float, high: float) -> str:
    """`+1.2 [+0.6 … +1.8]`."""
    return f"{format_difference(gain)} [{format_difference(low)} … {format_difference(high)}]"


def format_difference(mean: float) -> str:
    """`+0.4` or `−0.4`; `—` for no number."""
    return EMPTY if math.isnan(mean) else f"{round(mean, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no −0.0
