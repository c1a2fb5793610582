"""A table on Slurm through scripts/sbatch.py, disturbed in every way that a cluster knows: what survives ends bit-equal
to an undisturbed table, and each step is taken once."""

import re
import sys

import pytest

from digrap.core.paths import REPO
from digrap.tables.slurm_jobs import Ledger
from tests.doors import call
from tests.slurm.tables import (
    SETTINGS,
    STEPS_PER_EPOCH,
    counted_row,
    kill_run,
    outcome,
    runs,
    steps,
    write_table,
)

RULES = {"first": "DiGraP", "second": "SPD", "limited": "FTP", "killed": "L2SP", "cancelled": "MARSSP"}
EPOCHS = dict.fromkeys(RULES, 6) | {"limited": 10}


@pytest.fixture
def table(tmp_path):
    rows = [counted_row(tmp_path, name, rule, EPOCHS[name]) for name, rule in RULES.items()]
    plain = "plain: [optim=vanilla, trainer.epochs=1]"
    later = "later: {overrides: [optim=wise_ft, trainer.epochs=1], start: plain}"
    return write_table(tmp_path, "disturbed", [*rows, plain, later, "bad: [optim=digrap, optim.mu=-1]"])


@pytest.mark.slow
def test_every_disturbance(cluster, table, tmp_path, small_data, monkeypatch, summary):
    monkeypatch.setenv("STEP_FOLDER", str(tmp_path))
    monkeypatch.setenv("STEP_SECONDS", "0.25")
    outputs = tmp_path / "the outputs"
    words = [f"table={table}", f"data_root={small_data}"]
    submit = call("scripts/sbatch.py", *words, f"outputs={outputs}", "cluster.warn_s=60", *SETTINGS)
    assert submit.returncode == 0 and "7 runs submitted" in submit.stdout, submit
    found = runs(table, outputs)
    last = Ledger(outputs).last()
    jobs = {name: last[place(run)] for name, run in found.items() if place(run) in last}
    all_work_on(cluster, tmp_path, {})
    for prepare in (lambda: None, cluster.send_user_signal):  # SIGTERM, then the signal that the jobs asked for
        prepare()
        before = {name: set(steps(tmp_path, name)) for name in RULES}
        cluster.preempt()
        all_work_on(cluster, tmp_path, before)
    twice = {name: int(cluster.jobs()[jobs[name]]["Restarts"]) for name in RULES}
    assert all(restarts == 2 for restarts in twice.values()), twice
    limit = ("scontrol", "update", f"JobId={jobs['limited']}")
    cluster.run(*limit, "TimeLimit=2")
    kill_run(tmp_path, "killed")
    cluster.run("scancel", jobs["cancelled"])
    assert cluster.until(lambda: int(cluster.jobs()[jobs["limited"]]["Restarts"]) == 3, 180), "its limit puts it back"
    cluster.run(*limit, "TimeLimit=30")
    assert cluster.until(lambda: not cluster.run("squeue", "-h"), 600, every=2), cluster.run("squeue")

    states = {name: cluster.state(job) for name, job in jobs.items()}
    expected = {"cancelled": "CANCELLED", "killed": "FAILED", "bad": "FAILED"}
    assert states == {name: expected.get(name, "COMPLETED") for name in jobs}
    restarts = {name: int(cluster.jobs()[job]["Restarts"]) for name, job in jobs.items()}
    for name in ("first", "second", "limited"):
        assert len(steps(tmp_path, name)) == EPOCHS[name] * STEPS_PER_EPOCH, "no step was lost or taken twice"
    taken = len(steps(tmp_path, "killed")) - EPOCHS["killed"] * STEPS_PER_EPOCH
    assert 0 <= taken <= STEPS_PER_EPOCH, "SIGKILL costs what was done since the last checkpoint"
    submitted = [made.run for made in Ledger(outputs).submissions()]
    counts = {name: submitted.count(place(run)) for name, run in found.items()}
    assert counts == dict.fromkeys(found, 1) | {"killed": 2}

    plans = [file.read_text() for file in sorted((outputs / "slurm").glob("*/plan-*.log"))]
    assert "2 runs are missing" in plans[-1] and "was cancelled" in plans[-1] and "mu=-1" in plans[-1]
    status = cluster.run(sys.executable, "scripts/status.py", f"table={table}", f"outputs={outputs}", cwd=REPO)
    assert "6 done, 1 failed, 1 stopped" in status
    for name, shown in (("first", "done .*COMPLETED"), ("killed", "done .*COMPLETED"), ("bad", "failed .*FAILED")):
        assert re.search(rf"{name} .*{shown}", status), status
    assert re.search(rf"cancelled .*stopped .*CANCELLED {jobs['cancelled']} ", status), status

    monkeypatch.delenv("STEP_FOLDER")
    monkeypatch.setenv("STEP_SECONDS", "0")
    alone = tmp_path / "undisturbed"
    plain = call("train.py", "-m", *words, f"hydra.sweep.dir={alone / 'minidomainnet'}")
    assert plain.returncode == 2 and "1 runs failed" in plain.stderr, plain.stderr[-2000:]
    expected = runs(table, alone)
    made = [name for name in expected if name not in ("cancelled", "bad")]
    equal = [name for name in made if outcome(found[name]) == outcome(expected[name])]
    assert equal == made
    summary(
        f"sbatch.py: {len(found)} runs in two stages; 5 preempted twice (SIGTERM, SIGUSR2), 1 stopped by its limit, 1 "
        "killed by SIGKILL, 1 cancelled (stays so), 1 failed by an error (FAILED)"
    )
    summary(f"restarts: {restarts}; steps taken twice: {taken}, all of the killed run")
    summary(f"{len(equal)} of {len(made)} surviving runs are bit-equal to undisturbed ones")


def place(run):
    return f"{run.path.parent.name}/{run.path.name}"


def all_work_on(cluster, folder, before):
    """Wait until every run takes steps in a process that is none of `before`, {name: processes}."""

    def each_does() -> bool:
        processes = {name: steps(folder, name) for name in RULES}
        return all(sum(pid not in before.get(name, ()) for pid in pids) > 3 for name, pids in processes.items())

    assert cluster.until(each_does, 240, every=0.5), cluster.run("squeue", "-r")
