"""`train.py -m table=… hydra/launcher=slurm`: a row that fails or is killed ends alone, and its job has failed."""

import re
import subprocess
import sys

import pytest

from digrap.core.paths import REPO
from tests.doors import call
from tests.slurm.tables import SETTINGS, STEPS_PER_EPOCH, counted_row, kill_run, outcome, runs, steps, write_table


@pytest.mark.slow
def test_failed_and_killed_rows_are_named_and_the_others_go_on(cluster, tmp_path, small_data, monkeypatch, summary):
    """This cluster keeps no accounts, so that submitit by itself would wait for the killed job for ever."""
    rows = [counted_row(tmp_path, "fine", epochs=4), counted_row(tmp_path, "killed", "SPD", epochs=4)]
    table = write_table(tmp_path, "three", [*rows, "bad: [optim=digrap, optim.mu=-1]"])
    monkeypatch.setenv("STEP_FOLDER", str(tmp_path))
    monkeypatch.setenv("STEP_SECONDS", "0.25")
    place = tmp_path / "the runs" / "minidomainnet"
    words = ["train.py", "-m", f"table={table}", f"data_root={small_data}", f"hydra.sweep.dir={place}"]
    launch = [sys.executable, *words, "hydra/launcher=slurm", *SETTINGS]
    process = subprocess.Popen(launch, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for name in ("killed", "fine"):
            assert cluster.until(lambda name=name: len(steps(tmp_path, name)) > 3, 120)
        kill_run(tmp_path, "killed")
        cluster.preempt()
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    error = err[err.index("error: table") :]
    assert process.returncode == 2 and "2 runs failed" in error, out + err
    assert "mu=-1 (a finite number" in error
    ended = re.search(r"Slurm job (\S+) is (\w+) and left no result; its output is (\S.*?):?\n", error)
    assert ended[2] == "FAILED"
    assert len(steps(tmp_path, "fine")) == 4 * STEPS_PER_EPOCH and len(set(steps(tmp_path, "fine"))) == 2
    found = runs(table, place.parent)
    status = cluster.run(sys.executable, "scripts/status.py", f"table={table}", f"outputs={place.parent}", cwd=REPO)
    assert re.search(r"fine .*done .*COMPLETED", status), status
    assert re.search(rf"killed .*stopped .*FAILED {ended[1]}", status), status
    assert re.search(r"bad .*failed .*FAILED .*mu=-1", status), status
    assert "mu=-1" in found["bad"].error()
    monkeypatch.setenv("STEP_SECONDS", "0")
    alone = tmp_path / "alone"
    plain = call(*words[:4], f"hydra.sweep.dir={alone / 'minidomainnet'}")
    assert plain.returncode == 2 and "1 runs failed" in plain.stderr
    assert outcome(found["fine"]) == outcome(runs(table, alone)["fine"])
    summary("Hydra's launcher: 1 job preempted (bit-equal to an undisturbed one), 1 killed, 1 failed by an error")
