"""scripts/sbatch.py beside stand-ins for Slurm: what it writes, submits and says."""

import shlex
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from digrap.cli import make_tables, sbatch, status
from digrap.cli.arguments import GROUPS, with_overrides
from digrap.cli.door import door
from digrap.config.compose import register_resolvers
from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.paths import CONFIGS, REPO
from digrap.tables.slurm_jobs import Ledger

TABLE = """
title: t
overrides: [dataset=minidomainnet]
seeds: [0]
rows:
  vanilla: {overrides: [optim=vanilla], grid: {trainer.base.lr: [1e-3, 3e-3]}}
  WiSE-FT: {overrides: [optim=wise_ft], start: vanilla}
"""


@pytest.fixture
def call(fake_slurm, tmp_path, monkeypatch, capsys, quick):
    """Words → exit code, stdout and stderr of scripts/sbatch.py with a table of two stages."""
    table, outputs = tmp_path / "my tables" / "two.yaml", tmp_path / "the outputs"
    table.parent.mkdir()
    table.write_text(TABLE)

    def run(*words, main=sbatch.main):
        monkeypatch.setattr(sys, "argv", ["x", f"table={table}", f"outputs={outputs}", *words])
        code = door(main)
        return code, *capsys.readouterr()

    run.outputs, run.table, run.slurm = outputs, table, fake_slurm
    return run


def test_a_stage_is_an_array_and_a_job_that_plans_the_next(call):
    code, out, _ = call("cluster=example", "cluster.parallel=3", "device=cpu", "data_root=/the data")
    assert code == 0 and "2 runs submitted (101), 0 were in the queue; job 102 plans the next stage" in out
    array, plan = call.slurm.submitted()
    assert plan.startswith("--parsable --dependency=afterany:101 ")
    script = (call.outputs / "slurm").glob("two-*/two-0.sh").__next__()
    lines = script.read_text().splitlines()
    assert array == f"--parsable {script}" and "#SBATCH --array=0-1%3" in lines and "#SBATCH --requeue" in lines
    assert "export HF_HOME=/disk/hf" in lines
    for line in script.with_suffix(".txt").read_text().splitlines():
        python, unbuffered, door_, *overrides, wait, folder = shlex.split(line)
        assert wait == "wait=true"
        assert (python, unbuffered, door_) == (sys.executable, "-u", "train.py")
        assert "data_root=/the data" in overrides and not any("cluster" in word for word in overrides)
        assert folder.startswith(f"hydra.run.dir='{call.outputs}/minidomainnet/")
    again = shlex.split((script.parent / "plan.sh").read_text().splitlines()[-1])
    assert again[:3] == ["exec", sys.executable, "scripts/sbatch.py"]
    assert {f"table={call.table}", "cluster=example", "cluster.parallel=3", "device=cpu"} <= set(again)
    jobs = {made.run: made.job for made in Ledger(call.outputs).submissions()}
    assert sorted(jobs.values()) == ["101_0", "101_1", "102"] and jobs["plan:two"] == "102"


def test_called_again_it_submits_nothing_twice(call):
    call()
    call.slurm.says({"101_0": "RUNNING", "101_1": "PENDING", "102": "PENDING"})
    code, out, _ = call()
    assert code == 0 and "2 runs are in the queue, and job 102 plans the next stage" in out
    assert len(call.slurm.submitted()) == 2
    _, out, _ = call(main=status.main)
    assert "RUNNING 101_0" in out and "the job that plans the next stage: PENDING 102" in out
    call.slurm.says({"101_1": "PENDING"})
    call.slurm.says({"101_0": "OUT_OF_MEMORY|103", "102": "CANCELLED by 1000"}, "sacct")
    _, out, _ = call(main=status.main)
    assert "OUT_OF_MEMORY 101_0" in out and "the job that plans the next stage: CANCELLED 102" in out
    call.slurm.says(None)
    assert "Slurm" not in call(main=status.main)[1], "as without Slurm"


def test_at_the_end_it_names_what_is_missing(call):
    call()
    since = Ledger(call.outputs).submissions()[0].time
    call.slurm.says({"101_0": "CANCELLED", "101_1": "FAILED", "102": "COMPLETED"})
    run = call.outputs / Ledger(call.outputs).submissions()[1].run
    run.mkdir(parents=True)
    (run / "error.txt").write_text("Traceback\nZeroDivisionError: by zero\n")
    code, _, err = call(f"since={since - 1}")
    assert code == 2 and "2 runs are missing" in err
    assert "was cancelled" in err and f"{run}\n    failed: ZeroDivisionError: by zero" in err
    assert "2 runs submitted" in call()[1], "asked for anew, they are"


def test_a_finished_table_is_said_to_be(call, monkeypatch):
    monkeypatch.setattr(sbatch, "write_winners", lambda plan: [])
    call()
    for made in Ledger(call.outputs).submissions()[:2]:
        write_json(call.outputs / made.run / "results.json", {})
    monkeypatch.setattr("digrap.tables.missing_runs.Plan.winner", lambda *_: ("trainer.base.lr=1e-3",))
    monkeypatch.setattr("digrap.tables.missing_runs.Plan.ready", lambda _: [])
    (advised,) = (line for line in call()[1].splitlines() if line.startswith("all runs are done: "))
    python, script, *words = shlex.split(advised.removeprefix("all runs are done: "))
    assert (python, script) == ("python", "scripts/make_tables.py")
    assert words == [f"table={call.table}", f"outputs={call.outputs}"]


def test_the_advised_command_names_the_same_runs():
    """Options of the runs which make_tables.py and status.py take too."""
    given = ["table=demo", "seeds=0", "data_root=/the data", "cluster.gpus=null", "backbone.layers=3", "device=cpu"]
    options, _, extra = sbatch._arguments(given)
    _, script, *words = shlex.split(sbatch._make_tables(options, extra))
    assert script == "scripts/make_tables.py"
    assert words == ["table=demo", "seeds=0", "data_root=/the data", "backbone.layers=3"]
    with_overrides(words, make_tables.DEFAULTS, GROUPS)


def test_what_sbatch_refuses_is_said(call):
    call.slurm.refuse("sbatch: error: invalid partition specified: gpu")
    code, _, err = call("cluster=example")
    assert code == 2 and "invalid partition specified: gpu; correct cluster=…" in err and len(err.splitlines()) == 1
    assert not Ledger(call.outputs).submissions()


@pytest.mark.parametrize(
    "word, said",
    [
        ("cluster=nowhere", "cluster=nowhere: there is no such cluster; "),
        ("cluster.gpus=0", "cluster.gpus=0: give a whole number"),
        ("cluster.gpu=1", "cluster.gpu: there is no such option; nearest: cluster.gpus"),
        ("optim.mu=1", "optim.mu: "),
        ("trainer.base.lr=1", "trainer.base.lr: the rows of table=two set it themselves"),
        ("seeds=x", "seeds=x: give whole numbers"),
        ("since=x", "since=x: "),
    ],
)
def test_bad_words(call, word, said):
    code, _, err = call(word)
    assert code == 2 and said in err and not call.slurm.submitted()


def test_without_slurm(call, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, _ = call("dry_run=true")
    assert code == 0 and "2 runs would be submitted now" in out and "#SBATCH --array=0-1%256" in out
    code, _, err = call()
    assert code == 2 and "sbatch was not found: run this on a machine of the cluster, or with dry_run=true" in err


def test_hydras_launcher_asks_for_the_same(call, tmp_path):
    """`hydra/launcher=slurm` writes a script of its own; what it asks of Slurm is what dry_run says."""
    pytest.importorskip("submitit")
    from hydra_plugins.digrap_table_sweeper._slurm_jobs import SlurmBatches

    call.slurm.refuse("sbatch: error: invalid account")
    words = ["cluster=example", "hydra/launcher=slurm", "cluster.parallel=2", f"hydra.sweep.dir='{tmp_path}/sweep'"]
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=words, return_hydra_config=True)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=None, callbacks=None), task_function=print, config=cfg
    )
    with pytest.raises(DigrapError, match="sbatch refused the runs: .*invalid account"):
        SlurmBatches(launcher, print).launch([["seed=0"], ["seed=1"]], 0)
    (script,) = (tmp_path / "sweep" / ".submitit").glob(".submission_file_*.sh")
    own = {"job-name", "output", "error", "wckey"}
    asked = {line for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
    _, out, _ = call("cluster=example", "cluster.parallel=2", "dry_run=true")
    said = {line for line in out.splitlines() if line.startswith("#SBATCH")}
    assert {line for line in asked if line[len("#SBATCH --") :].partition("=")[0] not in own} == said
    text = script.read_text().replace(sys.executable, "python")
    assert "trap" in text and str(REPO) not in text
