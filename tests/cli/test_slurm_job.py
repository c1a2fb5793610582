"""A run that fails for a reason of its own has failed as a job, too."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hydra.types import RunMode

from digrap.cli import door, slurm_job
from digrap.cli.slurm_job import failing_job
from digrap.core.errors import Busy, DigrapError
from tests.doors import call


@pytest.fixture
def inside(monkeypatch):
    """Within a job that submitit has started."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    ending = slurm_job.Ending.__new__(slurm_job.Ending)  # without its hook at the end of this process
    monkeypatch.setattr(slurm_job, "ending", lambda: ending)
    return ending


def fail(folder, error):
    with pytest.raises(type(error)), failing_job(folder):
        raise error


def test_an_error_is_kept_and_fails_the_process(inside, tmp_path, caplog):
    fail(tmp_path, DigrapError("optim.mu=-1: give a number ≥ 0"))
    assert inside.failed and (tmp_path / "error.txt").read_text() == "optim.mu=-1: give a number ≥ 0\n"
    assert "the run failed: optim.mu=-1" in caplog.text
    fail(tmp_path, ZeroDivisionError("by zero"))
    assert "Traceback" in (tmp_path / "error.txt").read_text() and "by zero" in caplog.text
    with failing_job(tmp_path):
        pass
    assert not inside.failed


def test_another_process_that_makes_the_run_is_no_failure(inside, tmp_path):
    fail(tmp_path, Busy("x"))
    assert not inside.failed and not (tmp_path / "error.txt").exists()


def test_only_the_first_process_writes(inside, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    fail(tmp_path, DigrapError("x"))
    assert inside.failed and not (tmp_path / "error.txt").exists()


def test_outside_of_slurm_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    fail(tmp_path, DigrapError("x"))
    assert not any(tmp_path.iterdir())


def test_the_process_ends_with_code_1_although_hydra_goes_on(monkeypatch, tmp_path):
    """As under submitit's launcher: a multirun's job whose error Hydra catches."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    script = tmp_path / "job.py"
    script.write_text(
        "import sys; from pathlib import Path\nfrom digrap.cli.slurm_job import failing_job\ntry:\n    with "
        f"failing_job(Path({str(tmp_path)!r})):\n        raise OSError('no disk')\nexcept OSError:\n    "
        "print('caught')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "caught\n")


@pytest.mark.parametrize(("mode", "ignored"), [(RunMode.RUN, True), (RunMode.MULTIRUN, False)])
def test_a_preemption_after_the_only_run_is_done_ends_no_job(mode, ignored, monkeypatch, tmp_path):
    """In a sweep the next run has to hear it."""
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    config = SimpleNamespace(mode=mode, runtime=SimpleNamespace(output_dir=tmp_path))
    monkeypatch.setattr(door.HydraConfig, "get", lambda: config)
    numbers = (signal.SIGTERM, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    try:
        assert door.in_job(lambda: 50.0) == 50.0
        assert [signal.getsignal(number) for number in numbers] == ([signal.SIG_IGN] * 2 if ignored else before)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.slow
def test_a_single_run_fails_by_its_exit_code(monkeypatch, tmp_path, small_arguments):
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    run = call("train.py", *small_arguments, "optim.mu=-1", f"hydra.run.dir={tmp_path}")
    assert run.returncode == 2 and "mu=-1" in (tmp_path / "error.txt").read_text()
