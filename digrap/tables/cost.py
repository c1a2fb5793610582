"""The cost of a table's missing runs, estimated from finished ones. Reads files only."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from digrap.core.errors import DigrapError
from digrap.runs.folder import RESULTS, RunFolder
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import Cell


@dataclass(frozen=True)
class Measured:
    """A finished run: its kind, epochs, duration in seconds and size in bytes."""

    kind: tuple[str, str, str]  # dataset, backbone, method
    epochs: int
    seconds: float
    size: int


def measured(outputs: Path) -> list[Measured]:
    """Every finished run under `outputs`; what cannot be read is left out."""
    found = []
    for path in sorted(Path(outputs).glob(f"*/*/{RESULTS}")):
        folder = RunFolder(path.parent)
        try:
            results = folder.results()
            seconds, epochs = float(folder.facts()["wall_s"]), int(folder.config().trainer.epochs)
        except (DigrapError, ValueError, KeyError, TypeError, AttributeError, OmegaConfBaseException):
            continue
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        found.append(Measured((results.dataset, results.backbone, results.method), epochs, seconds, size))
    return found


def typical(cell: Cell, runs: list[Measured]) -> tuple[float, int] | None:
    """Seconds and bytes of a run like `cell`: the median over its method, else over what trains on the same dataset and
    backbone; a run that trains is taken to cost in proportion to its epochs."""
    cfg = cell.config
    kind, trains = (cfg.dataset.name, cfg.backbone.name, cfg.optim.name), bool(cfg.optim.trains)
    like = [run for run in runs if run.kind == kind]
    if not like and trains:
        like = [run for run in runs if run.kind[:2] == kind[:2] and run.kind[2] != "zero_shot"]
    if not like:
        return None
    times = [run.seconds * (cfg.trainer.epochs / run.epochs if trains else 1) for run in like]
    return statistics.median(times), int(statistics.median(run.size for run in like))


def dry_run(plan: Plan) -> str:
    """Every run known by now with its state, what still waits, and the cost of what is missing, as text."""
    runs, lines, missing, sizes, unknown = measured(plan.outputs), [], 0.0, 0, 0
    for cell in plan.known():
        done = plan.done(cell)
        like = None if done else typical(cell, runs)
        if not done:
            missing, sizes = (total + part for total, part in zip((missing, sizes), like or (0, 0), strict=True))
            unknown += like is None
        took = "done" if done else f"~{like[0]:.0f} s" if like else "missing"
        own = cell.overrides[len(plan.table.overrides) :]
        lines.append(f"{took:>8}  {cell.place}  {cell.row}: {' '.join(own)}")
    waiting = [f"{row.label} seed {seed}" for row, seed, cell in plan.finals() if cell is None]
    done = sum(plan.done(cell) for cell in plan.known())
    lines.append(f"{done} of {len(plan.known())} runs known by now are done.")
    if waiting:
        lines.append(f"{len(waiting)} more cells wait for a winner, and are not in these numbers: {'; '.join(waiting)}")
    if done < len(plan.known()) or waiting:
        unmeasured = f"; {unknown} of no kind measured yet" if unknown else ""
        lines.append(
            f"Missing runs known by now: {missing / 60:.1f} minutes one after the other, {sizes / 1e6:.0f} MB "
            f"(medians of runs of the same kind{unmeasured})."
        )
    return "\n".join(lines)
