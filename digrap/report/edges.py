"""Winners of a search that stand at the edge of their grid: a better value may lie beyond it."""

from __future__ import annotations

from dataclasses import dataclass

from digrap.report.gather import table_command
from digrap.report.scores import Scores
from digrap.tables.spec import Row

# Where an option ends by itself, its last value is no edge: nothing lies below 0, and FTP's k and a fixed ω end at 1.
ENDS = {"optim.k": (0.0, 1.0), "optim.omega": (0.0, 1.0)}
OTHERS = (0.0, float("inf"))


@dataclass(frozen=True)
class Edge:
    """A row's chosen value, as in its grid, that is the highest or the lowest of `values` values; `beyond` is one step
    further, as large as the last one."""

    row: Row
    key: str
    value: str
    highest: bool
    values: int
    beyond: str

    @property
    def side(self) -> str:
        return "highest" if self.highest else "lowest"


def edges(scores: Scores) -> list[Edge]:
    """Those of the rows with finished runs, in the table's order. Grids with fewer than two numbers have no edge."""
    result = {}
    for row in scores.table.rows.values():
        for run in scores.runs:
            if run.row == row.label:
                given = dict(override.lstrip("+").split("=", 1) for override in run.overrides)
                found = [_edge(row, key, given[key]) for key in row.grid]
                result |= {(edge.row.label, edge.key, edge.value): edge for edge in found if edge}
    return list(result.values())


def note(scores: Scores) -> str | None:
    """A line for the foot of a table; None without any."""
    found = edges(scores)
    texts = [
        f"{edge.row.label} {edge.key.rpartition('.')[2]} {edge.value} ({edge.side} of {edge.values})" for edge in found
    ]
    return f"At the edge of its grid, beyond which a better value may lie: {'; '.join(texts)}." if found else None


def warning(scores: Scores) -> str | None:
    """What to add to which grid, one line per winner, and the command that searches again; None without any."""
    table = scores.table
    lines = {
        f"    rows.{edge.row.own_label}.grid.{edge.key}: add {edge.beyond} ({edge.value} is the {edge.side})": None
        for edge in edges(scores)
    }
    if not lines:
        return None
    file = table.own_file or f"configs/tables/{table.name}.yaml"
    what = "winners stand at the edge of their grid, and a better value may lie beyond"
    return "\n".join([f"{what}; widen these in {file}, then {table_command(table)}:", *lines])


def _edge(row: Row, key: str, value: str) -> Edge | None:
    try:
        numbers = sorted({float(text) for text in row.grid[key]})
        chosen = float(value)
    except ValueError:  # a grid of names
        return None
    low, high = ENDS.get(key, OTHERS)
    if len(numbers) < 2 or numbers[0] < low or chosen in (low, high) or chosen not in (numbers[0], numbers[-1]):
        return None
    highest = chosen == numbers[-1]
    last, before = (numbers[-1], numbers[-2]) if highest else (numbers[0], numbers[1])
    step = last**2 / before if before else 2 * last  # grids grow by factors
    return Edge(row, key, value, highest, len(numbers), f"{min(max(step, low), high):.3g}")
