"""A run whose job is started anew again and again without getting further has failed."""

import signal

import pytest

from digrap.cli.slurm_job import failing_job
from digrap.config.compose import compose, start_config
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError, Interrupted
from digrap.engine import launch, requeues
from digrap.engine.earlier_starts import remove_temporaries
from digrap.runs.folder import RunFolder
from digrap.runs.written import is_written
from digrap.tables.missing_runs import Plan
from digrap.tables.run_states import state_of
from digrap.tables.slurm_jobs import Ledger
from digrap.tables.spec import load_table
from digrap.tables.submit import look


@pytest.fixture
def job(monkeypatch, tmp_path):
    """(a start of the job, the run's folder): the k-th start, which a signal ends after `work`."""
    for name in ("RANK", "SLURM_PROCID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    cfg = compose(["optim=lp_ft", "seed=3"])
    folder = tmp_path / "outputs" / "minidomainnet" / run_hash(cfg)

    def start(k, work=lambda folder: None):
        def interrupted(*args, **kwargs):
            work(folder)
            raise Interrupted(signal.SIGTERM)

        monkeypatch.setenv("SLURM_RESTART_COUNT", str(k))
        monkeypatch.setattr(launch, "_on_ranks", interrupted)
        with pytest.raises((Interrupted, DigrapError)) as caught:
            launch.train(cfg, folder)
        return caught.value

    return start, folder


def many(start, first, count, work=lambda folder: None):
    return [type(start(k, work)) for k in range(first, first + count)]


def test_the_sixth_start_without_a_step_is_refused(job):
    start, folder = job
    assert many(start, 0, requeues.LIMIT) == [Interrupted] * requeues.LIMIT
    message = str(start(requeues.LIMIT))
    assert f"{folder}: the job was requeued 5 times in a row" in message and "cluster.minutes=" in message
    assert many(start, 0, requeues.LIMIT) == [Interrupted] * requeues.LIMIT  # submitted anew


@pytest.mark.parametrize("kind", ["checkpoint", "answers", "variants", "start", "fresh"])
def test_whatever_is_gained_starts_the_count_anew(job, kind):
    start, folder = job
    earlier = folder.parent / run_hash(start_config(compose(["optim=lp_ft", "seed=3"])))
    work = {
        "checkpoint": lambda folder: RunFolder(folder).checkpoint(20).mkdir(parents=True),
        "answers": lambda folder: (folder / "answers-real-0.npz").write_bytes(b"more"),
        "variants": lambda folder: RunFolder(folder).write_variants({}),
        "start": lambda folder: RunFolder(earlier).checkpoint(5).mkdir(parents=True),
        "fresh": lambda folder: RunFolder(f"{folder}-fresh1").checkpoint(5).mkdir(parents=True),
    }[kind]
    assert many(start, 0, 5) == [Interrupted] * 5
    work(folder)
    assert many(start, 5, 5) == [Interrupted] * 5
    assert isinstance(start(10), DigrapError)


def test_a_checkpoint_at_the_same_step_is_no_gain(job):
    start, _ = job
    save = lambda folder: RunFolder(folder).checkpoint(20).mkdir(parents=True, exist_ok=True)  # noqa: E731
    assert many(start, 0, 6, save) == [Interrupted] * 6  # the first of them gained
    assert isinstance(start(6), DigrapError)


def test_a_damaged_note_counts_as_none(job):
    start, folder = job
    many(start, 0, 4)
    for text in ("", "[]", '{"count": "many"}'):
        (folder / requeues.FILE).write_text(text)
        assert many(start, 5, 1) == [Interrupted]


def test_a_run_that_is_done_keeps_no_note_and_one_outside_of_slurm_has_none(job, monkeypatch):
    start, folder = job
    start(0)
    assert (folder / requeues.FILE).exists() and is_written(requeues.FILE)
    monkeypatch.setattr(launch, "_on_ranks", lambda *args, **kwargs: 50.0)
    assert launch.train(compose(["optim=lp_ft", "seed=3"]), folder) == 50.0 and not list(folder.iterdir())
    monkeypatch.delenv("SLURM_JOB_ID")
    launch.train(compose(["optim=lp_ft", "seed=3"]), folder)
    assert not list(folder.iterdir())
    temporary = folder / f".{requeues.FILE}.abc.tmp"
    temporary.write_text("")
    remove_temporaries(RunFolder(folder))
    assert not temporary.exists()


def test_the_planning_job_does_not_submit_it_again(fake_slurm, tmp_path, monkeypatch):
    """Its job has failed; error.txt, which in_job writes, says why."""
    table = tmp_path / "one.yaml"
    table.write_text(
        "title: One\noverrides: [dataset=minidomainnet]\nseeds: [0]\nbaseline: vanilla\nrows: {vanilla: "
        "[optim=vanilla]}\n"
    )
    plan = Plan(load_table(str(table)), tmp_path / "outputs")
    (cell,) = plan.known()
    monkeypatch.setattr(launch, "_on_ranks", lambda *args, **kwargs: 1 / 0)
    monkeypatch.setenv("SLURM_JOB_ID", "101")
    for k in range(requeues.LIMIT + 1):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(k))
        with pytest.raises((ZeroDivisionError, DigrapError)) as caught, failing_job(cell.folder(plan.outputs)):
            launch.train(cell.config, cell.folder(plan.outputs))
    assert isinstance(caught.value, DigrapError)
    Ledger(plan.outputs).note([("101", cell.place)])
    fake_slurm.says({"101": "FAILED"})
    stage = look(plan, 0.0)
    assert stage.ready == [] and "5 times in a row" in stage.left[0][1]
    assert state_of(cell.folder(plan.outputs)).name == "failed"
