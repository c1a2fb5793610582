"""Jobs of runs: Slurm's answers, the ledger, and what of a table is submitted, once more, or not."""

import os
import time

import pytest

from digrap.core.errors import DigrapError
from digrap.runs.folder import RunFolder
from digrap.runs.lock import hold
from digrap.tables.missing_runs import Plan
from digrap.tables.slurm_jobs import Ledger, job_states, states
from digrap.tables.spec import Row, Search, Table
from digrap.tables.submit import TRIES, look, plan_name


def test_states_of_waiting_running_and_older_jobs(fake_slurm):
    fake_slurm.says({"12_0": "RUNNING", "12_1": "PENDING", "9": "COMPLETED", "99": "RUNNING"})
    fake_slurm.says({"3": "CANCELLED by 1000", "3_1": "FAILED"}, "sacct")
    found = states(["12_0", "12_1", "3", "4"])
    assert found == {"12_0": "RUNNING", "12_1": "PENDING", "3": "CANCELLED", "4": "UNKNOWN"}
    fake_slurm.says(None, "sacct")  # a cluster without accounts
    assert states(["3", "9"]) == {"3": "UNKNOWN", "9": "COMPLETED"}
    fake_slurm.says(None)
    assert states(["9"]) is None


# As sacct writes it for an array, some of whose tasks wait, and for a job of its own.
ACCOUNTS = """\
20_1|COMPLETED|21
20_2|FAILED|22
20_3|TIMEOUT|23
20_4|OUT_OF_MEMORY|24
20_5|NODE_FAIL|25
20_6|CANCELLED by 1000|26
20_7|PREEMPTED|27
20_[8-9%4]|PENDING|20
15|BOOT_FAIL|15
"""


def test_a_job_that_has_left_the_queue_is_asked_for_in_the_accounts(fake_slurm):
    (fake_slurm.folder / "sacct.txt").write_text(ACCOUNTS)
    fake_slurm.says({"20_8": "RUNNING|28"})
    ended = {"20_1": "COMPLETED", "20_2": "FAILED", "20_3": "TIMEOUT", "20_4": "OUT_OF_MEMORY", "20_5": "NODE_FAIL"}
    ended |= {"20_6": "CANCELLED", "20_7": "PREEMPTED", "15": "BOOT_FAIL"}
    assert states([*ended, "20_8"]) == ended | {"20_8": "RUNNING"}
    asked = "--noheader --allocations -P --format=JobID,State,JobIDRaw --jobs=15,20"
    assert fake_slurm.asked("sacct") == [asked]
    assert states(["20_8"]) == {"20_8": "RUNNING"} and len(fake_slurm.asked("sacct")) == 1, "it is in the queue"


def test_a_task_is_found_in_the_accounts_by_its_own_id(fake_slurm):
    """As a process of it knows itself, and writes it down as a folder's holder."""
    (fake_slurm.folder / "sacct.txt").write_text(ACCOUNTS)
    assert states(["24"]) == {"24": "OUT_OF_MEMORY"}


def test_the_ledger_keeps_the_last_job_of_a_run(fake_slurm, tmp_path):
    ledger = Ledger(tmp_path)
    assert ledger.last() == {} and job_states(tmp_path) == {}
    ledger.note([("1_0", "a/1"), ("1_1", "a/2")])
    ledger.note([("2", "a/1")])
    with open(ledger.file, "a") as file:
        file.write("damaged\n{}\n[1]\n")
    assert ledger.last() == {"a/1": "2", "a/2": "1_1"} and len(ledger.submissions()) == 3
    fake_slurm.says({"2": "PENDING"})
    assert job_states(tmp_path) == {"a/1": ("2", "PENDING"), "a/2": ("1_1", "UNKNOWN")}
    fake_slurm.says(None)
    assert job_states(tmp_path) == {}


def test_a_run_that_was_submitted_by_hand_is_found_by_its_owner(fake_slurm, tmp_path, monkeypatch):
    """The process knows its task's own id, squeue lists <array>_<task> first."""
    run = RunFolder(tmp_path / "a" / "1")
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    fake_slurm.says({"7_3": "RUNNING|9", "9_1": "PENDING|11"})
    assert job_states(tmp_path, ["a/1"]) == {}
    with hold(run):
        assert job_states(tmp_path, ["a/1"]) == {"a/1": ("9", "RUNNING")}


@pytest.fixture
def plan(quick, tmp_path):
    """Of two runs, both missing."""
    rows = {label: Row(label, (f"optim={label}",), {}) for label in ("vanilla", "zero_shot")}
    return Plan(Table("t", "t", ("dataset=minidomainnet",), (0,), rows, None, Search((0,)), {}, None), tmp_path / "out")


def test_without_slurm_every_missing_run_is_ready(plan, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert len(look(plan, time.time()).ready) == 2


def test_a_run_in_the_queue_is_not_submitted_again(plan, fake_slurm):
    first, *others = plan.ready()
    Ledger(plan.outputs).note([("5_0", first.place), ("6", plan_name(plan))])
    fake_slurm.says({"5_0": "PENDING", "6": "PENDING"})
    stage = look(plan, time.time())
    assert stage.queued == {first.place: "5_0"} and stage.ready == others and stage.planner == "6"


def test_slurm_that_does_not_answer_is_no_empty_queue(plan, fake_slurm):
    Ledger(plan.outputs).note([("5_0", plan.ready()[0].place)])
    fake_slurm.says(None)
    with pytest.raises(DigrapError, match="squeue does not answer"):
        look(plan, time.time())


def ended(plan, fake_slurm, state, times=1, error=None):
    """What is made of the first run after `times` jobs of which the last ended in `state`."""
    since, cell = time.time(), plan.ready()[0]
    Ledger(plan.outputs).note((f"5{k}", cell.place) for k in range(times))
    fake_slurm.says({f"5{times - 1}": state})
    if error:
        RunFolder(cell.folder(plan.outputs)).write_error(error)
    stage = look(plan, since)
    assert (cell in stage.ready) != (cell in [left for left, _ in stage.left])
    return "ready" if cell in stage.ready else stage.left[0][1]


@pytest.mark.parametrize("state", ["FAILED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY", "UNKNOWN"])
def test_what_was_killed_is_tried_again_but_not_for_ever(plan, fake_slurm, state):
    assert ended(plan, fake_slurm, state, TRIES - 1) == "ready"
    assert ended(plan, fake_slurm, state, TRIES) == f"{TRIES} jobs ended without a result, the last {state}"


def test_what_failed_by_an_error_of_its_own_waits_for_the_next_call(plan, fake_slurm):
    assert ended(plan, fake_slurm, "FAILED", error="Traceback\nValueError: mu=-1") == "failed: ValueError: mu=-1"
    cell = plan.ready()[0]
    assert cell in look(plan, time.time() + 60).ready, "the user has asked again"


def test_an_error_of_an_earlier_call_does_not_count(plan, fake_slurm):
    run = RunFolder(plan.ready()[0].folder(plan.outputs))
    run.write_error("old")
    os.utime(run.error_file, (time.time() - 60,) * 2)
    assert ended(plan, fake_slurm, "TIMEOUT") == "ready"


@pytest.mark.parametrize("state, left", [("RUNNING", True), ("FAILED", False), (None, False)])
def test_a_holder_whose_job_has_ended_is_gone(plan, fake_slurm, monkeypatch, state, left):
    """On another machine the file of a killed job's process looks alive for minutes."""
    cell = plan.ready()[0]
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    with hold(RunFolder(cell.folder(plan.outputs))):
        fake_slurm.says({"7_3": f"{state}|9"} if state else {})
        stage = look(plan, time.time())
        assert (cell in stage.ready) != left and [found for found, _ in stage.left] == [cell] * left


def test_what_was_cancelled_stays_dead(plan, fake_slurm):
    assert ended(plan, fake_slurm, "CANCELLED") == "was cancelled"


def test_the_planning_job_does_not_wait_for_itself(plan, fake_slurm, monkeypatch):
    Ledger(plan.outputs).note([("6", plan_name(plan))])
    fake_slurm.says({"6": "RUNNING"})
    monkeypatch.setenv("SLURM_JOB_ID", "6")
    assert look(plan, time.time()).planner is None
