"""What a table's missing runs will cost, from the runs that are there. Reads files only."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from digrap.results.plan import Plan
from digrap.results.spec import Cell


@dataclass(frozen=True)
class Measured:
    """A finished run: what it was, how long it took in seconds, how many bytes it left."""

    kind: tuple[str, str, str]  # dataset, backbone, method
    seconds: float
    size: int


def measured(outputs: Path) -> list[Measured]:
    """Every finished run under `outputs`; what cannot be read is left out."""
    found = []
    for path in sorted(Path(outputs).glob("*/*/results.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            seconds = float(json.loads((path.parent / "run.json").read_text(encoding="utf-8"))["wall_s"])
            kind = (result["dataset"], result["backbone"], result["method"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append(Measured(kind, seconds, sum(file.stat().st_size for file in path.parent.rglob("*.*"))))
    return found


def typical(cell: Cell, runs: list[Measured]) -> Measured | None:
    """What a run like `cell` took: the median over its method, else over its dataset and backbone."""
    cfg = cell.config
    kind = (cfg.dataset.name, cfg.backbone.name, cfg.optim.name)
    like = [run for run in runs if run.kind == kind] or [run for run in runs if run.kind[:2] == kind[:2]]
    if not like:
        return None
    return Measured(kind, statistics.median(r.seconds for r in like), int(statistics.median(r.size for r in like)))


def dry_run(plan: Plan) -> str:
    """Every run known by now with its state, what still waits, and the cost of what is missing, as text."""
    runs, lines, missing, sizes, unknown = measured(plan.outputs), [], 0.0, 0, 0
    for cell in plan.known():
        done = plan.done(cell)
        like = None if done else typical(cell, runs)
        if not done:
            missing, sizes = missing + (like.seconds if like else 0.0), sizes + (like.size if like else 0)
            unknown += like is None
        took = "done" if done else f"~{like.seconds:.0f} s" if like else "missing"
        own = cell.overrides[len(plan.table.overrides) :]
        lines.append(f"{took:>8}  {cell.place}  {cell.row}: {' '.join(own)}")
    waiting = [f"{row.label} seed {seed}" for row, seed, cell in plan.finals() if cell is None]
    done = sum(plan.done(cell) for cell in plan.known())
    lines.append(f"{done} of {len(plan.known())} runs known by now are done.")
    if waiting:
        lines.append(f"{len(waiting)} more cells wait for a winner: {'; '.join(waiting)}")
    if done < len(plan.known()) or waiting:
        unmeasured = f"; {unknown} of no kind measured yet" if unknown else ""
        lines.append(
            f"Missing runs known by now: {missing / 60:.1f} minutes one after the other, {sizes / 1e6:.0f} MB "
            f"(medians of runs of the same kind{unmeasured})."
        )
    return "\n".join(lines)
