"""The cost of a table's missing runs, estimated from finished ones. Reads files only."""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.runs.folder import RESULTS, RunFolder
from digrap.tables.memory import memory_lines
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import Cell, Row

NEWEST = 300  # finished runs of a dataset that costs are estimated from


@dataclass(frozen=True)
class Measured:
    """A finished run: its kind, whether it trained, epochs, duration in seconds, size in bytes, and how many GPUs made
    it."""

    kind: tuple[str, str, str, str]  # dataset, backbone, peft, method
    trains: bool
    epochs: int
    seconds: float
    size: int
    gpus: int


def measured(outputs: Path, datasets: Iterable[str]) -> list[Measured]:
    """The newest finished runs on each of the datasets under `outputs`; what cannot be read is left out."""
    found = []
    for dataset in datasets:
        files = sorted((Path(outputs) / dataset).glob(f"*/{RESULTS}"), key=_changed)
        for file in files[-NEWEST:]:
            try:
                found.append(_measured(RunFolder(file.parent)))
            except (DigrapError, ValueError, KeyError, TypeError, AttributeError, OSError):
                continue
    return found


def _measured(folder: RunFolder) -> Measured:
    results = folder.results()
    if results.smoke:
        raise ValueError("a smoke run costs less")
    plain = folder.plain_config()
    epochs = plain["trainer"]["epochs"]
    size = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file())
    optim, peft = plain.get("optim", {}), plain.get("peft", {})
    method = optim.get("name", results.method)  # results of optim=file have the class's name
    kind = (results.dataset, results.backbone, peft.get("name", "none"), method)
    facts = folder.facts()
    gpus = 0 if results.device.partition(":")[0] in ("cpu", "mps") else int(facts.get("processes", 1))
    return Measured(kind, bool(optim.get("trains", True)), int(epochs), float(facts["wall_s"]), size, gpus)


def _changed(file: Path) -> float:
    with contextlib.suppress(OSError):
        return file.stat().st_mtime
    return 0.0


def typical(cell: Cell, runs: list[Measured]) -> tuple[float, int, float] | None:
    """Seconds, bytes and seconds of GPUs of a run like `cell`: the median over its method, else over what trains on the
    same dataset and backbone, with the same peft; a run that trains is taken to cost in proportion to its epochs."""
    cfg = cell.config
    kind = (cfg.dataset.name, cfg.backbone.name, cfg.peft.name, cfg.optim.name)
    trains = bool(cfg.optim.trains)
    like = [run for run in runs if run.kind == kind]
    if not like and trains:
        like = [run for run in runs if run.kind[:-1] == kind[:-1] and run.trains]
    if not like:
        return None
    times = [run.seconds * (cfg.trainer.epochs / run.epochs if trains else 1) for run in like]
    of_gpus = statistics.median(time * run.gpus for time, run in zip(times, like, strict=True))
    return statistics.median(times), int(statistics.median(run.size for run in like)), of_gpus


def dry_run(plan: Plan) -> str:
    """Every run known by now with its state, what still waits, and the cost of what is missing, as text."""
    cells, missing = plan.known(), plan.missing()
    datasets = {place.partition("/")[0] for place in missing}
    runs, lines, costs = measured(plan.outputs, sorted(datasets)), [], []
    for cell in cells:
        if cell.place in missing:
            costs.append(like := typical(cell, runs))
            took = f"~{like[0]:.0f} s" if like else "missing"
        else:
            took = "done" if plan.done(cell) else "published"
        own = cell.overrides[len(plan.table.overrides) :]
        lines.append(f"{took:>9}  {cell.place}  {cell.row}: {' '.join(own)}")
    waiting = [(row, seed) for row, seed, cell in plan.finals() if cell is None]
    lines.append(f"{len(lines) - len(costs)} of the {len(lines)} runs known so far are done.")
    if waiting:
        listed = sum(_listed(plan, row, seed) for row, seed in waiting)
        some = f" ({listed} of them will reuse runs of their search)" if listed else ""
        lines.append(f"{len(waiting)} more cells depend on unfinished searches and are not counted yet{some}:")
        lines += [f"  {label}: {count}" for label, count in Counter(row.label for row, _ in waiting).items()]
    if costs:
        lines += [_cost(costs, plan.outputs), *memory_lines(plan.table, cells)]
    return "\n".join(lines)


def _listed(plan: Plan, row: Row, seed: int) -> bool:
    """Whether the run that a waiting cell will print is one of its search's, which are known."""
    return plan.choices(row, seed) is not None and seed in plan.search_seeds(seed)


def _cost(missing: list[tuple[float, int, float] | None], outputs: Path) -> str:
    """What the missing runs cost, as far as runs of their kind were measured in `outputs`."""
    known = [like for like in missing if like is not None]
    if not known:
        return (
            f"Cost of the {len(missing)} missing runs: not measured, because no run of their kind has finished in "
            f"{outputs} yet."
        )
    seconds, size, of_gpus = (sum(part) for part in zip(*known, strict=True))
    gpus = f"{of_gpus / 3600:.1f} GPU hours, " if of_gpus else ""
    text = f"Missing runs known so far: {_hours(seconds)} one after another, {gpus}{size / 1e6:.0f} MB"
    unmeasured = f"; {len(missing) - len(known)} more are of kinds not measured yet" * (len(known) < len(missing))
    return f"{text} (medians of runs of the same kind{unmeasured})."


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
