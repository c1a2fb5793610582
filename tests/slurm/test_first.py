"""The shortest way: a cluster starts, and one run goes through it."""

from digrap.tables.slurm_jobs import Ledger
from tests.doors import call
from tests.slurm.tables import SETTINGS, runs, write_table


def test_one_run_goes_through(cluster, tmp_path, small_data):
    table = write_table(tmp_path, "one", ["zero-shot: [optim=zero_shot]"])
    outputs = tmp_path / "the outputs"
    words = [f"table={table}", f"outputs={outputs}", f"data_root={small_data}"]
    submit = call("scripts/sbatch.py", *words, *SETTINGS)
    assert submit.returncode == 0 and "1 runs submitted" in submit.stdout, submit
    run = runs(table, outputs)["zero-shot"]
    logs = [*(outputs / "slurm").glob("*/*.sh")]
    assert cluster.until(run.done, 60), (cluster.run("squeue", "-r"), logs)
    cluster.run("scancel", Ledger(outputs).last()["plan:one"])
