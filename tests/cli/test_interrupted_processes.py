"""Real processes that are told to end: sweeps save every run and begin no other, and loaders outlive the signal."""

import os
import signal
import subprocess
import sys
import time

import pytest

from digrap.core.paths import REPO
from digrap.runs.folder import RunFolder


@pytest.mark.slow
@pytest.mark.parametrize(("group", "number"), [(True, signal.SIGINT), (False, signal.SIGINT), (False, signal.SIGTERM)])
def test_a_parallel_sweep_saves_every_run_and_begins_no_other(small_arguments, tmp_path, number, group):
    """A terminal tells all processes of it, `kill` the first one alone."""
    place = tmp_path / "runs"
    words = [
        *small_arguments,
        "trainer.epochs=200",
        "optim=vanilla",
        "seed=1,2,3,4,5,6,7,8",
        f"hydra.sweep.dir={place}",
    ]
    command = [sys.executable, "train.py", "-m", *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    with open(tmp_path / "log", "w") as out:
        sweep = subprocess.Popen(command, cwd=REPO, stdout=out, stderr=out, start_new_session=True)
    while len(list(place.glob("*/checkpoints/step-*"))) < 3:
        assert sweep.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    (os.killpg if group else os.kill)(sweep.pid, number)
    assert sweep.wait(60) == 128 + number, (tmp_path / "log").read_text()
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith(f"interrupted by {number.name}: step ")
    assert "Traceback" not in (tmp_path / "log").read_text()
    runs = [RunFolder(path) for path in place.iterdir() if (path / "run.json").exists()]
    assert len(runs) == 2 and all(run.checkpoint_steps() and run.error() is None for run in runs)
    assert not list(place.glob("*/.owner.json"))


@pytest.mark.slow
def test_loading_processes_outlive_a_signal_to_the_whole_group(small_arguments, tmp_path):
    """The step in hand needs their batch."""
    folder = RunFolder(tmp_path / "run")
    words = [
        *small_arguments,
        "trainer.epochs=200",
        "trainer.validate_every=200",
        "trainer.workers=2",
        f"hydra.run.dir={folder.path}",
    ]
    with open(tmp_path / "log", "w") as out:
        run = subprocess.Popen(
            [sys.executable, "train.py", *words], cwd=REPO, stdout=out, stderr=out, start_new_session=True
        )
    while not folder.checkpoint_steps():
        assert run.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    before = folder.checkpoint_steps()
    os.killpg(run.pid, signal.SIGTERM)
    assert run.wait(60) == 143
    assert "interrupted by SIGTERM: step" in (tmp_path / "log").read_text().splitlines()[-1]
    assert folder.checkpoint_steps()[-1] > before[0] and folder.error() is None
