"""How long a big table takes to plan, show and render: 12 methods × 3 seeds × grids among thousands of run folders.

    python tools/bench_tables.py [runs=10000 rounds=3 out=FILE]

Writes finished runs with made-up predictions into a temporary folder: those of the table, and others of the same
dataset up to `runs`. Then `train.py -m table=… dry_run=true`, status.py and make_tables.py run as a user starts them,
`rounds` times in turn; prints the median seconds of each, and of the start of Python with our imports alone, with the
seconds of a core that it took, which other processes change less.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from digrap.cli.arguments import bare_keys
from digrap.config.schema import split_kinds
from digrap.core.files import write_json, write_text
from digrap.core.paths import REPO
from digrap.core.progress import track
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import write_bundle
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import Cell, load_table

DEFAULTS = {"runs": 10000, "rounds": 3, "out": None}
TRAINED = ("vanilla", "lp", "partial_fusion", "l2sp", "mars_sp", "spd", "ftp", "tpgm", "digrap")
STARTED = ("lp_ft", "wise_ft")  # initialised from runs of their own
GRID = "{trainer.base.lr: [1e-4, 3e-4, 1e-3], trainer.base.weight_decay: [0, 1e-4, 1e-2]}"
N = 45  # examples a split


def table_text() -> str:
    """The yaml of a table with all twelve methods."""
    rows = [f"  {name}: {{overrides: [optim={name}], grid: {GRID}}}" for name in (*TRAINED, *STARTED)]
    head = "title: A big table\noverrides: [dataset=minidomainnet]\nseeds: [0, 1, 2]\nbaseline: vanilla\nrows:\n"
    return head + "  zero_shot: [optim=zero_shot]\n" + "\n".join(rows) + "\n"


def write_run(cell: Cell, outputs: Path) -> Path:
    """A finished run of the cell, its answers drawn."""
    folder, draw = RunFolder(cell.folder(outputs)), np.random.default_rng(random.Random(cell.place).getrandbits(32))
    labels = {name: {"label": np.arange(N)} for name in split_kinds(cell.config)}
    answers, scores = {}, {}
    for name, kind in split_kinds(cell.config).items():
        right = draw.random(N) < 0.7
        answers[name] = {"prediction": np.where(right, np.arange(N), -1), "probability": np.full(N, 0.5, np.float32)}
        scores[name] = {"kind": kind, "n": N, "accuracy": 100 * int(right.sum()) / N}
    tested = {name: value for name, value in scores.items() if value["kind"] != "id_train"}
    write_bundle(folder.predictions_file, {name: answers[name] for name in tested}, {n: labels[n] for n in tested})
    (validation,) = (name for name, value in scores.items() if value["kind"] == "id_val")
    cfg = cell.config
    folder.write_config(cfg)
    write_json(folder.facts_file, {"wall_s": 60.0})
    folder.write_results({
        "schema": 1, "hash": folder.path.name, "dataset": cfg.dataset.name, "backbone": cfg.backbone.name,
        "method": cfg.optim.name, "metric": "accuracy", "seed": cfg.seed, "weights": None, "scores": tested,
        "selection": {"split": validation, "epoch": 1, "score": scores[validation]["accuracy"]},
        "commit": "0" * 40, "dirty": False, "device": "cpu", "versions": {"torch": "none: made up"},
    })  # fmt: skip
    return folder.path


def fill(plan: Plan, runs: int) -> int:
    """Write the table's runs, and copies of one beside them; returns how many are the table's."""
    made: set[str] = set()
    while batch := [cell for cell in plan.known() if cell.place not in made]:
        for cell in track(batch, "writing", unit="runs of the table"):
            made.add(cell.place)
            last = write_run(cell, plan.outputs)
    for number in track(range(runs - len(made)), "writing", unit="other runs"):
        shutil.copytree(last, last.with_name(f"other{number:05d}"))
    return len(made)


def seconds_of(command: list[str]) -> tuple[float, float]:
    """How long a command takes, and how long it keeps a core busy."""
    before, began = os.times(), time.monotonic()
    subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    """Write the runs, time the commands in turn, print a table."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    with tempfile.TemporaryDirectory() as folder:
        table, outputs = Path(folder) / "big.yaml", Path(folder) / "outputs"
        write_text(table, table_text())
        own = fill(Plan(load_table(str(table)), outputs), options.runs)
        sweep = f"hydra.sweep.dir={outputs}/minidomainnet"
        commands = {
            "starting": ["-c", "import digrap.cli.make_tables, digrap.cli.status"],
            "plan (dry_run)": ["train.py", "-m", f"table={table}", "dry_run=true", sweep],
            "status.py": ["scripts/status.py", f"table={table}", f"outputs={outputs}"],
            "make_tables.py": ["scripts/make_tables.py", f"table={table}", f"outputs={outputs}", f"out={folder}/out"],
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, words in commands.items():
                times[name].append(seconds_of([sys.executable, *words]))
    lines = [f"{options.runs} run folders, {own} of them the table's", ""]
    lines += ["| command | s | s of a core |", "| --- | ---: | ---: |"]
    for name, found in times.items():
        lines.append(
            "| " + " | ".join([name, *(f"{statistics.median(of):.1f}" for of in zip(*found, strict=True))]) + " |"
        )
    print("\n".join(lines))
    if options.out:
        write_text(Path(options.out), "\n".join(lines) + "\n")
