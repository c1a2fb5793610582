"""A job of Slurm that is asked to end: what Slurm is asked, and the exit code. `scontrol` is a stand-in here."""

import os
import signal

import pytest

from digrap.core.errors import Interrupted
from digrap.engine import slurm

SCONTROL = """#!/bin/sh
echo "$@" >> {calls}
[ "$1" = show ] && echo "JobId=7 JobState={state} Reason=None" && exit 0
echo "Job is not requeuable" >&2
exit {requeue}
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """State of the job, exit code of the requeueing → a function that gives scontrol's calls so far."""
    for name in ("RANK", "SLURM_PROCID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")

    def make(state="RUNNING", requeue=0):
        calls, folder = tmp_path / "calls", tmp_path / "bin"
        folder.mkdir()
        (folder / "scontrol").write_text(SCONTROL.format(calls=calls, state=state, requeue=requeue))
        (folder / "scontrol").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return lambda: calls.read_text().splitlines() if calls.exists() else []

    return make


def run(number=signal.SIGTERM):
    with slurm.guard(), slurm.guard():  # the inner one: a run that another is initialised from
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_running_job_goes_back_into_the_queue(cluster, number):
    calls = cluster()
    with pytest.raises(SystemExit) as caught:
        run(number)
    assert caught.value.code == 75 and calls() == ["show job -o 7", "requeue 7"]


def test_a_task_of_an_array_is_named_as_such(cluster, monkeypatch):
    """Its own number may be the whole array's, and all of its tasks would start again."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    calls = cluster()
    with pytest.raises(SystemExit):
        run()
    assert calls() == ["show job -o 5_2", "requeue 5_2"]


def test_slurm_is_left_alone_where_it_ends_the_job_itself(cluster):
    calls = cluster("COMPLETING")
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 75 and calls() == ["show job -o 7"]


def test_a_job_that_cannot_be_requeued_has_failed(cluster, caplog):
    cluster(requeue=1)
    with pytest.raises(Interrupted) as caught:
        run()
    assert caught.value.code == 143 and "7 could not be requeued (Job is not requeuable)" in caplog.text


def test_without_scontrol_the_job_has_failed(cluster, caplog, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Interrupted):
        run()
    assert "could not be requeued" in caplog.text


def test_ctrl_c_is_meant(cluster):
    calls = cluster()
    with pytest.raises(Interrupted):
        run(signal.SIGINT)
    assert calls() == []


def test_submitit_requeues_by_its_own_handler(cluster):
    """It writes down the call and counts; what it raises at the end is not the job's exit code."""
    calls, told = cluster(), []

    def submitits(number, frame):
        told.append(number)
        raise SystemExit(-1)

    before = signal.signal(signal.SIGUSR2, submitits)
    try:
        with pytest.raises(SystemExit) as caught:
            run()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert told == [signal.SIGUSR2] and caught.value.code == 75 and calls() == ["show job -o 7"]


def test_other_ranks_leave_the_asking_to_the_first(cluster, monkeypatch):
    calls, slept = cluster(), []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(slurm.time, "sleep", slept.append)
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 75 and calls() == [] and slept == [slurm.OTHERS_WAIT]
