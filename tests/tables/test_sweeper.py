"""`python train.py -m table=…` runs what is missing, stage by stage, and nothing else."""

import json

import pytest

from digrap.core.files import write_json
from digrap.core.paths import CONFIGS
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import load_table
from hydra_plugins.digrap_table_sweeper import table_sweeper
from tests.doors import begin, call


@pytest.fixture
def small(small_arguments):
    return [*small_arguments, "trainer.epochs=1"]


def test_a_table_runs_what_is_missing(small, tmp_path):
    outputs = tmp_path / "minidomainnet"
    cells = Plan(load_table("demo", [3], tuple(small)), tmp_path).ready()
    done = cells[1:]
    for cell in done:
        write_json(cell.folder(tmp_path) / "results.json", {"untouched": True})
    run = call("train.py", "-m", "table=demo", "seed=3", *small, f"hydra.sweep.dir={outputs}")
    assert run.returncode == 0, run.stderr
    assert "4 of 5 runs are done" in run.stdout
    made = json.loads((cells[0].folder(tmp_path) / "results.json").read_text())
    assert made["method"] == "zero_shot" and made["seed"] == 3
    assert all("untouched" in (cell.folder(tmp_path) / "results.json").read_text() for cell in done)
    assert len(list(outputs.glob("*/results.json"))) == 5


TINY = """
title: tiny
overrides: [dataset=minidomainnet]
seeds: [0]
rows:
  vanilla: {overrides: [optim=vanilla], grid: {trainer.base.lr: [1e-4, 1e-3]}}
  WiSE-FT: {overrides: [optim=wise_ft, "optim.curve=[]"], start: vanilla}
  %s
"""


@pytest.fixture
def tiny(tmp_path):
    """A table in a file of its own."""

    def make(more=""):
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY % more)
        return path

    return make


@pytest.mark.slow
def test_stages_and_two_launches_at_once(small, tmp_path, tiny, monkeypatch):
    """Two launches share the work: each run is made once, the search before what goes on from its winner."""
    command = ["train.py", "-m", f"table={tiny()}", *small, f"hydra.sweep.dir={tmp_path / 'minidomainnet'}"]
    monkeypatch.setattr(table_sweeper, "POLL_SECONDS", 0.2)
    launches = [launch() for launch in [begin(*command), begin(*command)]]
    assert [launch.returncode for launch in launches] == [0, 0], launches
    results = [json.loads(path.read_text()) for path in (tmp_path / "minidomainnet").glob("*/results.json")]
    assert sorted(result["method"] for result in results) == ["vanilla", "vanilla", "wise_ft"]
    (averaged,) = (result for result in results if result["method"] == "wise_ft")
    best = max((result for result in results if result["method"] == "vanilla"), key=lambda r: r["selection"]["score"])
    if len({result["selection"]["score"] for result in results if result["method"] == "vanilla"}) == 2:
        assert averaged["start"]["hash"] == best["hash"]
    for path in (tmp_path / "minidomainnet").glob("*/metrics.jsonl"):  # no line twice: made once
        lines = path.read_text().splitlines()
        assert len(lines) == len(set(lines))
    assert not (CONFIGS / "best" / "tiny").exists()  # with other overrides than the file's there is no winner


@pytest.mark.slow
def test_a_failed_run_stops_no_other_and_is_named(small, tmp_path, tiny):
    name = tiny('broken: [optim=digrap, "optim.mu=-1"]')
    run = call("train.py", "-m", f"table={name}", *small, f"hydra.sweep.dir={tmp_path / 'minidomainnet'}")
    assert run.returncode == 2 and "Traceback" not in run.stderr.split("error: ")[-1]
    assert "1 runs failed" in run.stderr and "Invalid mu: mu=-1" in run.stderr and "optim.mu=-1 seed=0" in run.stderr
    assert len(list((tmp_path / "minidomainnet").glob("*/results.json"))) == 3


def test_dry_run_runs_nothing(small, tmp_path, tiny):
    place = f"hydra.sweep.dir={tmp_path / 'minidomainnet'}"
    run = call("train.py", "-m", f"table={tiny()}", "dry_run=true", *small, place)
    assert run.returncode == 0 and "0 of the 2 runs known so far are done" in run.stdout
    assert not list(tmp_path.rglob("results.json"))


def test_an_option_of_the_tables_own_groups_reaches_its_runs(tmp_path):
    """train.py's own config, the miniature's, has no backbone.model; the table's has."""
    option, place = "backbone.model=/models/pali gemma", f"hydra.sweep.dir={tmp_path / 'vqav2'}"
    run = call("train.py", "-m", "table=4b", "dry_run=true", "seed=100", option, place)
    assert run.returncode == 0 and "0 of the 6 runs known so far are done" in run.stdout, run.stderr
    table = load_table("4b", [100], ("backbone.model='/models/pali gemma'",))
    assert all(table.cell(row, 100).place in run.stdout for row in table.rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table=demo"], "python train.py -m table=demo"),
        (["dry_run=true"], "dry_run=true needs a table"),
        (["-m", "table=dmo"], "nearest: demo"),
        (["-m", "table=demo", "optim.mu=0.1,1"], "only seed may list several values"),
        (["-m", "table=demo", "optim=spd"], "optim: the rows of table=demo set it themselves"),
        (["-m", "table=demo", "seed=a"], "give whole numbers"),
        (["-m", "table=demo", "trainer.epocs=3"], "trainer.epocs: there is no such option; nearest: trainer.epochs"),
        (["-m", "table=demo", "dataset.sed=3"], "dataset.sed: there is no such option; nearest: dataset.seed"),
    ],
)
def test_wrong_calls_are_one_message(arguments, message, tmp_path):
    run = call("train.py", *arguments)
    assert run.returncode == 2 and message in run.stderr and "Traceback" not in run.stderr
