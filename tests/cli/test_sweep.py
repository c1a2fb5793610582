"""Tables run in a process of their own: a failed run is named, an interruption ends all processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from digrap.cli import judge, sweep
from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text
from digrap.runs.folder import RunFolder
from digrap.runs.lock import hold
from digrap.tables.spec import load_table

TWO = """
title: two
overrides: [dataset=minidomainnet]
seeds: [7]
rows: {zero-shot: [optim=zero_shot], vanilla: [optim=vanilla]}
"""


@pytest.fixture
def two(tmp_path):
    """A table's file, its two cells, and a folder for their runs."""
    file = tmp_path / "two.yaml"
    write_text(file, TWO)
    table = load_table(str(file))
    return file, [table.cell(row, 7) for row in table.rows], tmp_path / "outputs"


@pytest.mark.slow
def test_a_failed_run_is_named_with_its_command(small_arguments, tmp_path):
    """The optimizer fails in its first step."""
    rule = tmp_path / "spoilt.py"
    rule.write_text("import torch\nclass Spoilt(torch.optim.SGD):\n    def step(self, closure=None):\n        oh\n")
    options = judge.parse([f"method={rule}", "seeds=4", *small_arguments])
    file, outputs = tmp_path / "spoilt.yaml", tmp_path / "outputs"
    write_text(file, judge.as_table("spoilt", options, {"Spoilt": options.rule}))
    cell = load_table(str(file)).cell("Spoilt", 4)
    with pytest.raises(DigrapError, match=r"(?s)1 runs failed.*python train.py .*optim=file.*name 'oh'.*resumes"):
        sweep.sweep(file, [cell], outputs, 1)
    assert (cell.folder(outputs) / "error.txt").exists()


def test_nothing_is_started_where_all_runs_are_there(two, monkeypatch):
    file, cells, outputs = two
    for cell in cells:
        write_json(cell.folder(outputs) / "results.json", {})
    monkeypatch.setattr(subprocess, "Popen", None)
    sweep.sweep(file, cells, outputs, 1)


def test_the_command_is_a_table_of_train(two, tmp_path):
    file, cells, outputs = two
    assert sweep._command(file, cells[0], outputs, 3)[1:] == [
        "train.py", "-m", f"table='{file}'", "hydra/launcher=joblib", "hydra.launcher.n_jobs=3",
        f"hydra.sweep.dir='{outputs}/minidomainnet'",
    ]  # fmt: skip


STAND_IN = """
import pathlib, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(str(worker.pid))
time.sleep(60)
"""


def test_an_interruption_ends_every_process(two, tmp_path, monkeypatch):
    """A stand-in for train.py that has started a worker."""
    file, cells, outputs = two
    pid = tmp_path / "worker.pid"
    monkeypatch.setattr(sweep, "_command", lambda *_: [sys.executable, "-c", STAND_IN, str(pid)])
    plain = sweep._done

    def done(cell, folder):
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt
        return plain(cell, folder)

    monkeypatch.setattr(sweep, "_done", done)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(file, cells, outputs, 1)
    assert gone(int(pid.read_text()))


def gone(pid):
    """Whether a process ends within a few seconds; one that nobody has waited for is a zombie."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            status = Path(f"/proc/{pid}/stat")
            if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_a_run_that_is_not_where_it_should_be_is_named(two, monkeypatch):
    file, cells, outputs = two
    monkeypatch.setattr(sweep, "_command", lambda *_: [sys.executable, "-c", ""])
    with pytest.raises(DigrapError, match="zero-shot, seed 7: the run is not in .*run the command again"):
        sweep.sweep(file, cells, outputs, 1)


def test_a_crash_shows_the_last_lines(two, monkeypatch):
    file, cells, outputs = two
    monkeypatch.setattr(sweep, "_command", lambda *_: [sys.executable, "-c", "print(1); 1 / 0"])
    with pytest.raises(DigrapError, match=r"(?s)the runs failed:\n.*ZeroDivisionError.*two.log"):
        sweep.sweep(file, cells, outputs, 1)


def test_what_is_being_made_and_the_time_left_are_said(two, monkeypatch, capsys):
    """A run without training tells nothing about how long the others take."""
    file, (zero, vanilla), outputs = two
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(sweep, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(sweep, "_command", lambda *_: [sys.executable, "-c", "import time; time.sleep(1.5)"])
    run, polled = RunFolder(vanilla.folder(outputs)), []
    plain = sweep._done

    def done(cell, folder):
        if cell is zero:
            polled.append(cell)
        if len(polled) == 3:
            write_json(zero.folder(outputs) / "results.json", {})
            run.write_facts({"total_steps": 100})
            record = {"event": "train", "step": 50, "epoch": 1.0}
            run.metrics_file.write_text(json.dumps(record) + "\n")
        return plain(cell, folder)

    monkeypatch.setattr(sweep, "_done", done)
    with pytest.raises(DigrapError, match="vanilla, seed 7: the run is not in"), hold(run):
        sweep.sweep(file, [zero, vanilla], outputs, 1)
    printed = capsys.readouterr().out
    assert f"log: {file.with_suffix('.log')}" in printed
    assert "1 of 2: zero-shot, seed 7\n" in printed
    assert "  vanilla, seed 7: step 50 of 100" in printed


def test_the_time_left_goes_by_what_was_trained(two, monkeypatch):
    _, (zero, vanilla), outputs = two
    clock = [0.0]
    monkeypatch.setattr(sweep.time, "monotonic", lambda: clock[0])
    training = sweep.Training([zero, vanilla], outputs)
    write_json(zero.folder(outputs) / "results.json", {})
    clock[0] = 40.0
    assert training.time_left() == "", "nothing is trained yet"
    run = RunFolder(vanilla.folder(outputs))
    run.write_facts({"total_steps": 100})
    for seconds, step, said in ((40, 0, ""), (90, 20, ""), (100, 30, ""), (110, 60, "; about 20 s left")):
        clock[0] = seconds
        run.metrics_file.write_text(json.dumps({"event": "train", "step": step, "epoch": 1.0}) + "\n")
        assert training.time_left() == said, "from the first steps on: 40 of 100 steps in 20 seconds"
    write_json(vanilla.folder(outputs) / "results.json", {})
    assert training.time_left() == "", "nothing is left"
