"""Every state a run can be in, from synthetic folders."""

import dataclasses
import importlib
import json
import os
import platform
import time

import pytest
from filelock import FileLock

from digrap.core.files import write_json
from digrap.tables import run_states as status
from digrap.tables.missing_runs import Plan
from digrap.tables.run_states import Progress, progress_of, state_of
from digrap.tables.spec import Row, Search, Table
from tests.synthetic_runs import result

clock = {}


@pytest.fixture(scope="module")
def table():
    rows = [
        Row("vanilla", ("optim=vanilla",), {"trainer.base.lr": ("1e-4", "1e-3")}),
        Row("WiSE-FT", ("optim=wise_ft",), {}, "vanilla"),
        Row("zero-shot", ("optim=zero_shot",), {}),
        Row("LP-FT", ("optim=lp_ft",), {}),
    ]
    rows = {row.label: row for row in rows}
    return Table("t", "t", ("dataset=minidomainnet",), (0, 1), rows, None, Search((0,)), {}, None)


@pytest.fixture(scope="module")
def cells(table, tmp_path_factory):
    """{(row, choice): cell} of seed 0 where nothing is done."""
    plan = Plan(table, tmp_path_factory.mktemp("nothing"))
    found = [cell for cell in plan.known() if cell.seed == 0]
    return {(cell.row, status.chosen(plan, cell)): cell for cell in found}


@pytest.fixture
def lr(cells, tmp_path):
    """A cell and its folder."""
    cell = cells["vanilla", "lr=1e-4"]
    cell.folder(tmp_path).mkdir(parents=True)
    return cell, cell.folder(tmp_path)


@pytest.fixture(autouse=True)
def the_tests_own_clock():
    clock["now"] = time.time()


def write_run(folder, age=3600, **facts):
    write_json(folder / "run.json", {"seed": 0, **facts})
    at(folder / "run.json", age)


def at(path, age):
    os.utime(path, (clock["now"] - age,) * 2)


def write_metrics(folder, *steps, age=3600, per_epoch=10, end=""):
    records = [{"event": "train", "step": step, "epoch": step / per_epoch, "loss": 1.0, "lr": 0.1} for step in steps]
    text = "".join(json.dumps(record) + "\n" for record in [*records, {"event": "val", "epoch": 1, "step": 0}])
    (folder / "metrics.jsonl").write_text(text + end)
    at(folder / "metrics.jsonl", age)


def write_checkpoint(folder, step, age):
    path = folder / "checkpoints" / f"step-{step:08d}" / "manifest.json"
    write_json(path, {"step": step})
    at(path, age)


def note(cell, outputs):
    return status.status_of(cell, outputs).note


def test_pending(lr, tmp_path):
    cell, folder = lr
    assert state_of(folder).name == "pending" and note(cell, tmp_path) == ""
    (folder / ".lock").touch()  # a process was here and has gone
    assert state_of(folder).name == "pending"
    assert state_of(tmp_path / "nowhere").name == "pending"


def test_asking_leaves_nothing_behind(lr):
    _, folder = lr
    state_of(folder)
    assert not any(folder.iterdir())


def test_a_run_waits_for_its_start(cells, tmp_path):
    cell = cells["LP-FT", ""]
    start = tmp_path / cell.start_place
    assert note(cell, tmp_path) == f"after {cell.start_place} (pending)"
    write_json(start / "results.json", {})
    assert note(cell, tmp_path) == ""


def test_done(lr, tmp_path):
    cell, folder = lr
    write_run(folder, wall_s=754.2)
    write_json(folder / "results.json", {})
    (folder / "error.txt").write_text("old")
    assert state_of(folder) == status.State("done") and note(cell, tmp_path) == "13 min"


def test_running_is_a_held_lock(lr, tmp_path):
    cell, folder = lr
    with FileLock(folder / ".lock"):
        assert state_of(folder) == status.State("running") and note(cell, tmp_path) == "starting"
        write_run(folder, age=100, total_steps=100)
        write_metrics(folder, 10, 20, age=60)
        (folder / "error.txt").write_text("of the start before")
        assert note(cell, tmp_path) == "step 20 of 100, 0.5 steps/s, 3 min left"
        write_metrics(folder, 100, age=1)
        assert note(cell, tmp_path) == "step 100 of 100, testing"
    assert state_of(folder).name == "failed"


def test_running_without_training(cells, tmp_path):
    folder = cells["zero-shot", ""].folder(tmp_path)
    write_run(folder)
    with FileLock(folder / ".lock"):
        assert note(cells["zero-shot", ""], tmp_path) == "no training, testing"


def test_on_another_node_fresh_files_say_so(lr):
    _, folder = lr
    write_run(folder, age=60)
    assert state_of(folder) == status.State("running", sure=False)
    write_run(folder, age=60, host="another")
    assert not state_of(folder).sure
    write_run(folder, age=60, host=platform.node())
    assert state_of(folder) == status.State("stopped")
    write_run(folder, age=7200, host="another")
    assert state_of(folder) == status.State("stopped")
    write_checkpoint(folder, 5, age=30)
    assert state_of(folder) == status.State("running", sure=False)


def test_failed(lr, tmp_path):
    cell, folder = lr
    write_run(folder, age=5)
    (folder / "error.txt").write_text("Traceback\n  line 1\n  line 2\n\nOSError: [Errno 28] No space left\n")
    assert state_of(folder).name == "failed"
    assert note(cell, tmp_path) == "line 1\nline 2\nOSError: [Errno 28] No space left"


def test_stopped(lr, tmp_path):
    cell, folder = lr
    write_run(folder)
    write_metrics(folder, 10, 20, 30)
    assert state_of(folder).name == "stopped"
    assert note(cell, tmp_path) == "starts again: no checkpoint yet"
    write_checkpoint(folder, 20, age=3600)
    assert note(cell, tmp_path) == "resumes at step 20 of 100"  # ten steps an epoch, ten epochs


def test_damaged_notes_are_no_matter(lr, tmp_path):
    cell, folder = lr
    (folder / "run.json").write_text("{")
    (folder / "metrics.jsonl").write_text('{"event": "train", "st\n')
    at(folder / "run.json", 3600), at(folder / "metrics.jsonl", 3600)
    assert note(cell, tmp_path) == "starts again: no checkpoint yet"


def test_rate_since_fitting_began(lr):
    _, folder = lr
    write_run(folder, age=100)
    write_metrics(folder, 10, 40, age=20, end='{"event": "train", "step": 5')
    assert progress_of(folder, 10) == Progress(40, 100, pytest.approx(0.5))
    assert progress_of(folder, 10).left == pytest.approx(120)


def test_rate_after_a_resume_counts_new_steps(lr):
    _, folder = lr
    write_checkpoint(folder, 30, age=5000)
    write_run(folder, age=100, total_steps=200)
    write_metrics(folder, 30, age=100)  # cut back when it resumed
    assert progress_of(folder, 10) == Progress(30, 200, None)
    write_metrics(folder, 30, 50, age=60)
    assert progress_of(folder, 10).rate == pytest.approx(20 / 40)


def test_rate_where_early_checkpoints_are_dropped(lr):
    _, folder = lr
    write_run(folder, age=1000, total_steps=200)
    write_checkpoint(folder, 90, age=90)
    write_checkpoint(folder, 100, age=50)
    write_metrics(folder, 110, age=10)
    assert progress_of(folder, 10) == Progress(110, 200, pytest.approx(20 / 80))


def test_summary_and_what_waits(table, tmp_path):
    plan = Plan(table, tmp_path)
    runs = status.table_status(plan)
    assert status.summary(runs) == "6 pending"  # two searched, two zero-shot, two LP-FT
    assert status.waiting(plan) == "waiting cells: 2 for the winner of their search, 2 for the winner of their start"
    for k, cell in enumerate(run.cell for run in runs if run.cell.row == "vanilla"):
        found = result({"real_val": ("id_val", 100, 50.0 + k)}, cell.seed)
        write_json(cell.folder(tmp_path) / "results.json", found)
    runs = status.table_status(plan)
    assert status.summary(runs) == "2 done, 7 pending" and status.waiting(plan) == ""
    seed_1 = [run.cell for run in runs if run.cell.row == "vanilla" and run.cell.seed == 1]
    assert [status.chosen(plan, cell) for cell in seed_1] == ["lr=1e-3"]
    assert status.summary([]) == "no runs"


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (754, "13 min"), (11100, "3 h 05 min")])
def test_durations(seconds, text):
    assert status.duration(seconds) == text


def test_the_script(lr, table, tmp_path, capsys, monkeypatch):
    script = importlib.import_module("digrap.cli.status")
    one = dataclasses.replace(table, rows={"vanilla": table.rows["vanilla"]})
    monkeypatch.setattr(script, "load_table", lambda name, seeds, extra: one)
    monkeypatch.setattr("sys.argv", ["status.py", "table=t", f"outputs={tmp_path}"])
    write_run(lr[1], age=5)
    script.main()
    assert "probably running" in (text := capsys.readouterr().out) and "1 running, 1 pending" in text
    (lr[1] / "error.txt").write_text("lost [/] and [red]")
    script.main()
    assert "lost [/] and [red]" in (text := capsys.readouterr().out) and "1 failed, 1 pending" in text
