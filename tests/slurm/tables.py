"""Tables of small runs whose steps can be counted, slowed down and killed from outside."""

import json
import os
import signal
from pathlib import Path

from digrap.runs.folder import RunFolder
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import load_table

# An optimizer that writes its process beside its file at each step of a run (a file is tried on a few numbers before);
# STEP_SECONDS slows it down.
RULE = """
import os, pathlib, time
from digrap.optim import {rule}

class Counted({rule}):
    def step(self, closure=None):
        done = super().step(closure)
        if sum(param.numel() for group in self.param_groups for param in group["params"]) > 1000:
            time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
            if folder := os.environ.get("STEP_FOLDER"):
                with open(pathlib.Path(folder) / "{name}.steps", "a") as file:
                    file.write(str(os.getpid()) + chr(10))
        return done
"""
SIZES = {"real_train": 640, "real_val": 90, **dict.fromkeys(
    ("real", "clipart", "sketch", "painting", "infograph", "quickdraw"), 45)}  # fmt: skip
RECIPE = ["trainer.micro_batch=32", "trainer.batch_size=32", "trainer.validate_every=1", "device=cpu"]
STEPS_PER_EPOCH = SIZES["real_train"] // 32
SETTINGS = ["cluster.gpus=null", "cluster.cpus=1", "cluster.minutes=30"]


def write_table(folder: Path, name: str, rows: list[str]) -> Path:
    """Write a table with the given rows, one seed, and the sizes and recipe above."""
    sizes = [f"dataset.splits.{split}.size={size}" for split, size in SIZES.items()]
    overrides = ", ".join(["dataset=minidomainnet", *sizes, *RECIPE])
    head = ["title: A table for Slurm", f"overrides: [{overrides}]", "seeds: [7]"]
    file = folder / f"{name}.yaml"
    file.write_text("\n".join([*head, "rows:", *(f"  {row}" for row in rows)]) + "\n")
    return file


def counted_row(folder: Path, name: str, rule: str = "DiGraP", epochs: int = 5) -> str:
    """A row with an optimizer of its own, in `folder`."""
    file = folder / f"{name}.py"
    file.write_text(RULE.format(rule=rule, name=name))
    return f'{name}: [optim=file, "optim.file={file}", trainer.epochs={epochs}]'


def steps(folder: Path, name: str) -> list[int]:
    """The process of each step that a counted row has taken so far."""
    log = folder / f"{name}.steps"
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def kill_run(folder: Path, name: str) -> None:
    """SIGKILL the process that took a counted row's last step."""
    os.kill(steps(folder, name)[-1], signal.SIGKILL)


def runs(table: Path, outputs: Path, extra: tuple[str, ...] = ()) -> dict[str, RunFolder]:
    """{row: its run's folder}, with further overrides where given; those that wait for another run too."""
    plan = Plan(load_table(str(table), extra=extra), outputs)
    return {cell.row: RunFolder(cell.folder(outputs)) for cell in plan.known()}


def outcome(run: RunFolder) -> dict:
    """What two equal runs have in common to the last bit: scores, digests of weights, losses."""
    results = json.loads(run.results_file.read_text())
    kept = {key: results[key] for key in ("hash", "scores", "selection", "weights_sha256")}
    return kept | {"metrics": run.metrics_file.read_text() if run.metrics_file.exists() else None,
                   "predictions": run.predictions_file.read_bytes()}  # fmt: skip
