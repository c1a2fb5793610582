"""Hydra's Slurm launcher as the sweeper uses it, beside stand-ins for Slurm."""

import logging

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from digrap.core.errors import DigrapError
from digrap.tables.missing_runs import Plan
from digrap.tables.slurm_jobs import Ledger
from digrap.tables.spec import Row, Search, Table
from hydra_plugins.digrap_table_sweeper.table_sweeper import TableSweeper

submitit = pytest.importorskip("submitit")
from submitit.core.utils import cloudpickle_dump  # noqa: E402

from hydra_plugins.digrap_table_sweeper._slurm_jobs import SlurmBatches, Watcher  # noqa: E402


class Stock:
    """As hydra-submitit-launcher's launch, with jobs that are there already."""

    def __init__(self, folder, *jobs):
        self.params, self.jobs, self.task_function = {"submitit_folder": str(folder / "%j")}, jobs, None

    def launch(self, job_overrides, initial_job_idx):
        folder = self.params["submitit_folder"]
        array = submitit.SlurmJob(folder, self.jobs[0].partition("_")[0])  # submitit looks at the array first
        tasks = [submitit.SlurmJob(folder, job) for job in self.jobs] if len(self.jobs) > 1 else [array]
        return [task.results()[0] for task in tasks]


@pytest.fixture(autouse=True)
def quick_answers(monkeypatch):
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)


def finish(folder, job, value):
    """Leave the result that a job's process leaves."""
    place = submitit.SlurmJob(str(folder / "%j"), job).paths
    place.folder.mkdir(parents=True, exist_ok=True)
    result = JobReturn(status=JobStatus.COMPLETED)
    result.return_value = value
    cloudpickle_dump(("success", result), place.result_pickle)


def test_one_job_without_a_result_costs_itself_alone(fake_slurm, tmp_path):
    finish(tmp_path, "7_1", 0.5)
    (tmp_path / "7_0").mkdir()
    (tmp_path / "7_0" / "7_0_0_log.err").write_text("one\nslurmstepd: error: Detected 1 oom-kill event\n")
    fake_slurm.says({"7_0": "OUT_OF_MEMORY", "7_1": "COMPLETED"})
    seen = []
    results = SlurmBatches(Stock(tmp_path, "7_0", "7_1"), seen.append).launch([["a=1"], ["a=2"]], 0)
    assert seen == [["7_0", "7_1"]]
    assert results[1].return_value == 0.5 and results[0].status == JobStatus.FAILED
    said = str(results[0]._return_value)
    assert "Slurm job 7_0 is OUT_OF_MEMORY and left no result" in said and "Detected 1 oom-kill event" in said
    assert not isinstance(submitit.SlurmJob.watcher, Watcher), "submitit's own is back"


def test_a_job_that_slurm_has_forgotten_has_ended(fake_slurm, tmp_path):
    """Without accounts submitit by itself would wait for ever."""
    (tmp_path / "7").mkdir()
    (result,) = SlurmBatches(Stock(tmp_path, "7"), print).launch([["a=1"]], 0)
    assert "Slurm job 7 is GONE" in str(result._return_value)


def test_without_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DigrapError, match="there is no srun here; run this on a machine of the cluster"):
        SlurmBatches(Stock(tmp_path, "7"), print).launch([["a=1"]], 0)


def test_without_the_plugin(monkeypatch):
    monkeypatch.setattr("hydra_plugins.digrap_table_sweeper.table_sweeper.find_spec", lambda _: None)
    launcher = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}
    config = OmegaConf.create({"hydra": {"launcher": launcher}})
    with pytest.raises(DigrapError, match="pip install hydra-submitit-launcher; scripts/sbatch.py does without"):
        TableSweeper.__new__(TableSweeper).setup(config=config)


def test_an_interruption_leaves_the_jobs_in_the_queue(fake_slurm, tmp_path, caplog, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(submitit.SlurmJob, "wait", interrupted)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        SlurmBatches(Stock(tmp_path, "7_0", "7_1"), print).launch([["a=1"], ["a=2"]], 0)
    assert "the jobs stay in Slurm's queue (scancel 7 ends them); the same command waits" in caplog.text


def test_a_sweep_leaves_what_is_in_the_queue(fake_slurm, tmp_path, quick):
    rows = {label: Row(label, (f"optim={label}",), {}) for label in ("vanilla", "zero_shot")}
    plan = Plan(Table("t", "t", ("dataset=minidomainnet",), (0,), rows, None, Search((0,)), {}, None), tmp_path / "out")
    first, second = plan.ready()
    Ledger(plan.outputs).note([("5_0", first.place), ("5_1", second.place)])
    fake_slurm.says({"5_0": "PENDING", "5_1": "CANCELLED"})
    sweeper = TableSweeper.__new__(TableSweeper)
    sweeper.slurm = True
    assert sweeper._queued(plan, [first, second]) == [first]
    sweeper.slurm = False
    assert sweeper._queued(plan, [first, second]) == []
