"""The lock of a run's folder: held by one process, also where flock sees nothing of another machine's."""

import json
import logging
import os
import signal
import time
from dataclasses import asdict, replace

import psutil
import pytest

from digrap.core.errors import Busy
from digrap.runs import lock
from digrap.runs.folder import RunFolder
from digrap.runs.lock import Owner, held, hold
from digrap.tables.run_states import State, state_of


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "a run")
    folder.path.mkdir()
    return folder


def left_by(run, owner, age=0.0):
    """Write down a holder that flock knows nothing of, as on another machine."""
    run.owner_file.write_text(json.dumps(asdict(owner)))
    os.utime(run.owner_file, (time.time() - age,) * 2)


def elsewhere(**changes):
    return replace(Owner.me(), host="n2", pid=4711, **changes)


def test_the_holder_is_written_down_and_lets_go(run):
    with hold(run):
        found, age = lock.owner_of(run)
        assert (found.pid, found.host, found.job) == (os.getpid(), Owner.me().host, None) and age < 60
        assert held(run) and state_of(run.path) == State("running")
        with pytest.raises(Busy, match=f"process {os.getpid()} on "), hold(run):
            pass
    assert not run.owner_file.exists() and not held(run)
    with hold(run):
        pass


def test_a_holder_on_another_machine_is_waited_for_or_named(run):
    left_by(run, elsewhere(job="12"), age=40)
    with pytest.raises(Busy) as caught, hold(run):
        pass
    for words in (str(run.path), "process 4711 on n2 (job 12)", "40 s ago", "5 minutes after its last sign of life"):
        assert words in str(caught.value)
    assert state_of(run.path) == State("running") and lock.owner_of(run)[0].host == "n2"


def test_one_that_waits_takes_its_turn(run, monkeypatch):
    left_by(run, elsewhere())
    monkeypatch.setattr(lock.time, "sleep", lambda _: run.owner_file.unlink())  # it lets go
    with hold(run, wait=True):
        assert lock.owner_of(run)[0].pid == os.getpid()


def gone(name):
    if name == "for long":
        return elsewhere(), lock.GONE + 60, "no sign of life for 6 minutes"
    if name == "another under its number":
        return replace(Owner.me(), started=Owner.me().started - 100), 0, "has ended"
    if name == "no process":
        return replace(Owner.me(), pid=max(psutil.pids()) + 1000), 0, "has ended"
    return elsewhere(job="12", restart=0), 0, "an earlier start of this job"


@pytest.mark.parametrize("name", ["for long", "another under its number", "no process", "the job's last start"])
def test_a_holder_that_is_gone_is_replaced_with_a_message(run, name, caplog, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    owner, age, why = gone(name)
    left_by(run, owner, age)
    assert not held(run)
    with caplog.at_level(logging.WARNING), hold(run):
        (line,) = caplog.messages
        assert f"{run.path} is taken over from process {owner.pid}" in line and why in line
        assert lock.owner_of(run)[0].pid == os.getpid()
    assert [path.name for path in run.path.iterdir()] == [".lock"]


def test_two_tasks_of_one_start_of_a_job_exclude_each_other(run, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    left_by(run, elsewhere(job="12"))
    with pytest.raises(Busy), hold(run):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "n2"}', '{"later": 1}'])
def test_a_holder_that_cannot_be_read_counts_by_its_age(run, content):
    run.owner_file.write_text(content)
    with pytest.raises(Busy), hold(run):
        pass
    os.utime(run.owner_file, (0, 0))
    with hold(run):
        assert lock.owner_of(run)[0].pid == os.getpid()


def test_signs_of_life(run, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with hold(run):
        for _ in range(2):
            os.utime(run.owner_file, (0, 0))
            while run.owner_file.stat().st_mtime == 0:
                time.sleep(0.01)


def test_who_was_replaced_writes_nothing_more(run, monkeypatch):
    """A process that was stopped for long, and goes on."""
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with hold(run) as still_mine:
        still_mine()
        left_by(run, elsewhere(), age=5)
        with pytest.raises(Busy, match="was taken over by process 4711 on n2"):
            still_mine()
        time.sleep(0.05)
        assert lock.owner_of(run)[1] >= 5, "it gives no sign of life for the other"
    assert lock.owner_of(run)[0].host == "n2"


def test_a_killed_process_leaves_nothing_that_holds(run):
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        with hold(run):
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    with pytest.raises(Busy, match=f"process {child} on"), hold(run):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert run.owner_file.exists() and not held(run)
    with hold(run):
        pass
