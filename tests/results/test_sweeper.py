"""`python train.py -m table=…` runs what is missing, and nothing else."""

import json
import subprocess
import sys

import pytest

from digrap.files import write_json
from digrap.paths import REPO
from digrap.results.spec import load_table


def train(*arguments):
    return subprocess.run([sys.executable, "train.py", *arguments], cwd=REPO, capture_output=True, text=True)


def test_a_table_runs_what_is_missing(small_arguments, tmp_path):
    outputs = tmp_path / "minidomainnet"
    small = [*small_arguments, "trainer.epochs=1"]
    cells = load_table("demo", [3], tuple(small)).all_cells()
    done = cells[1:]
    for cell in done:
        write_json(cell.folder(tmp_path) / "results.json", {"untouched": True})
    run = train("-m", "table=demo", "seed=3", *small, f"hydra.sweep.dir={outputs}")
    assert run.returncode == 0, run.stderr
    assert "4 of 5 runs are there" in run.stdout
    made = json.loads((cells[0].folder(tmp_path) / "results.json").read_text())
    assert made["method"] == "zero_shot" and made["seed"] == 3
    assert all("untouched" in (cell.folder(tmp_path) / "results.json").read_text() for cell in done)
    assert len(list(outputs.glob("*/results.json"))) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table=demo"], "python train.py -m table=demo"),
        (["-m", "table=dmo"], "nearest: demo"),
        (["-m", "table=demo", "optim.mu=0.1,1"], "only seed may list several values"),
        (["-m", "table=demo", "seed=a"], "give whole numbers"),
    ],
)
def test_wrong_calls_are_one_message(arguments, message, tmp_path):
    run = train(*arguments)
    assert run.returncode == 2 and message in run.stderr and "Traceback" not in run.stderr
