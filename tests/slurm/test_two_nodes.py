"""A run of two processes on two nodes, started by srun."""

import json

import pytest

from tests.doors import call
from tests.slurm.conftest import reaching, started
from tests.slurm.tables import SETTINGS, STEPS_PER_EPOCH, counted_row, outcome, runs, steps, write_table


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    for cluster in started(tmp_path / "two-nodes", nodes=2):
        yield reaching(cluster, monkeypatch)


@pytest.mark.slow
def test_two_ranks_on_two_nodes_go_on_after_a_preemption(two_nodes, tmp_path, small_data, monkeypatch, summary):
    monkeypatch.setenv("STEP_FOLDER", str(tmp_path))
    monkeypatch.setenv("STEP_SECONDS", "0.2")
    table = write_table(tmp_path, "two", [counted_row(tmp_path, "pair", epochs=2)])
    words = [f"table={table}", f"data_root={small_data}", "cluster.nodes=2", "trainer.micro_batch=16", *SETTINGS]
    found = {}
    for name, disturbed in (("disturbed", True), ("alone", False)):
        outputs = tmp_path / name
        submit = call("scripts/sbatch.py", *words, f"outputs={outputs}")
        assert submit.returncode == 0, submit
        run = runs(table, outputs, ("trainer.micro_batch=16",))["pair"]
        if disturbed:
            assert two_nodes.until(lambda: len(steps(tmp_path, "pair")) > 8, 120)
            two_nodes.preempt()
        assert two_nodes.until(run.done, 240, every=1), two_nodes.run("squeue", "-r")
        assert two_nodes.until(lambda: not two_nodes.run("squeue", "-h"), 60), two_nodes.run("squeue")
        if disturbed:
            assert len(steps(tmp_path, "pair")) == 2 * 2 * STEPS_PER_EPOCH, "each of two ranks took each step once"
            assert len(set(steps(tmp_path, "pair"))) == 4, "two processes before, two after"
        found[name] = run
    assert json.loads(found["alone"].results_file.read_text())["processes"] == 2
    assert outcome(found["disturbed"]) == outcome(found["alone"])
    summary("two nodes: 2 ranks by srun over gloo, preempted once; bit-equal to an undisturbed run of 2 ranks")
