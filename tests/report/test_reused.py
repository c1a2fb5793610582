"""A table is published again without the runs of before: their results are in what was published."""

import json
import shutil
import sys

import pytest
from omegaconf import OmegaConf

from digrap.cli import sbatch
from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text
from digrap.report.publish import publish
from digrap.report.scores import gather
from digrap.report.verify import verify_table
from digrap.tables import cost, published, run_states, spec, winners
from digrap.tables.missing_runs import Plan, Stages
from digrap.tables.published import Published
from digrap.tables.spec import load_table
from digrap.tables.winners import as_config
from tests import synthetic_runs
from tests.doors import call
from tests.synthetic_runs import SMALL, script, write_run

RATE = "trainer.base.lr="


@pytest.fixture
def results(small_table, tmp_path, monkeypatch):
    """The folder of published tables that the scripts know: the small table is there, and its runs are nowhere else."""
    table, outputs = small_table
    folder = tmp_path / "docs" / "results"
    publish(gather(table, outputs), {}, folder)
    shutil.rmtree(outputs)
    monkeypatch.setattr(published, "PUBLISHED", folder)
    monkeypatch.setattr(script("make_tables"), "PUBLISHED", folder)
    return folder


def change(old, new):
    assert old in SMALL
    write_text(spec.CONFIGS / "tables" / "small.yaml", SMALL.replace(old, new))
    return load_table("small")


def more_rows(row="L2-SP: [optim=l2sp]"):
    return change("  DiGraP: [optim=digrap]\n", f"  DiGraP: [optim=digrap]\n  {row}\n")


def without_searches(folder):
    """As tables were published before the results of searches were."""
    manifest = json.loads((folder / "small" / "manifest.json").read_text())
    for cell in manifest.pop("searches"):
        name = f"searches/{cell['hash']}.json"
        del manifest["files"][name]
        (folder / "small" / name).unlink()
    write_json(folder / "small" / "manifest.json", manifest)


def run_script(name, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    script(name).main()
    return capsys.readouterr().out


def plan_of(table, outputs, folder):
    return Plan(table, outputs, Published(folder / "small"))


def test_a_row_is_added_by_its_own_runs(results, tmp_path, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in results.glob("small/runs/*")}
    table, outputs = more_rows(), tmp_path / "outputs"
    for cell in plan_of(table, outputs, results).ready():
        assert cell.row == "L2-SP"
        write_run(cell, outputs, 60, commit="f" * 40, versions={"torch": "3.0", "timm": "1.0.31"}, device="cuda")
    words = ("table=small", f"outputs={outputs}", f"out={tmp_path / 'out'}")
    printed = run_script("make_tables", monkeypatch, capsys, *words, "publish=true")
    assert f"6 of 8 runs are taken from {results / 'small'} as published" in printed
    assert "8 runs, 0.1" in printed and "MB; 0 runs missing" in printed and not (tmp_path / "true").exists()
    checked = verify_table(results / "small")
    assert (checked.differences, checked.runs) == ([], 8)
    after = {path.name: path.read_bytes() for path in results.glob("small/runs/*")}
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 4
    text = (results / "small" / "small.md").read_text()
    assert "Commit 0123456789, ffffffffff; timm 1.0.31, torch 2.15.0, torch 3.0; device cpu, cuda." in text
    # What was published is again all that is needed; without it these runs are missing.
    shutil.rmtree(outputs)
    assert "8 of 8 runs are taken from" in run_script("make_tables", monkeypatch, capsys, *words, "publish=true")
    assert "8 of 8 runs are taken from" in run_script("make_tables", monkeypatch, capsys, *words, "published=reuse")
    for more in (["publish=false"], ["published=ignore", "publish=false"]):
        assert "taken from" not in run_script("make_tables", monkeypatch, capsys, *words, *more)
    with pytest.raises(DigrapError, match="no run is finished"):
        run_script("make_tables", monkeypatch, capsys, *words, "publish=true", "published=ignore")
    assert verify_table(results / "small").differences == []


def test_a_run_of_outputs_comes_before_the_published_one(results, tmp_path):
    table, outputs = load_table("small"), tmp_path / "outputs"
    write_run(table.cell("DiGraP", 100), outputs, 80)
    scores = gather(table, outputs, published=Published(results / "small"))
    assert sorted(run.results.score("real") for run in scores.runs if run.row == "DiGraP") == [80, 92]
    assert [run.published for run in scores.runs].count(False) == 1


@pytest.mark.parametrize("searches", [True, False])
@pytest.mark.parametrize(("validation", "winner"), [(55, "0.001"), (65, "0.003")])
def test_a_grid_is_extended_by_its_new_values(results, tmp_path, validation, winner, searches):
    """The published winner had 60, whoever it was chosen from 40."""
    if not searches:
        without_searches(results)
    table, outputs = change("[3e-4, 1e-3]", "[3e-4, 1e-3, 3e-3]"), tmp_path / "outputs"
    plan = plan_of(table, outputs, results)
    (new,) = plan.ready()
    assert f"{RATE}0.003" in new.overrides and plan.final(table.rows["vanilla"], 100) is None
    write_run(new, outputs, 75, validation=validation)
    assert plan.winner(table.rows["vanilla"], 100) == (f"{RATE}{winner}",)
    assert [cell.seed for cell in plan.ready()] == ([101] if winner == "0.003" else [])
    row = table.rows["vanilla"]
    assert f"best of 3 (best) by ID validation; validation {max(validation, 60)}.00 %" in as_config(
        plan, row, row.slug, plan.final(row, 100)
    )
    for cell in plan.ready():
        write_run(cell, outputs, 76)
    place, _ = publish(gather(table, outputs, published=plan.published), {}, results)
    assert verify_table(place).differences == []
    shutil.rmtree(outputs)
    assert plan_of(table, outputs, results).ready() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rule: best", "rule: one_std_error"),  # which of the unknown ones comes near cannot be told
        ("vanilla: {overrides: [optim=vanilla]", "vanilla: {overrides: [optim=vanilla, trainer.epochs=3]"),
        ("overrides: [dataset=minidomainnet,", "overrides: [dataset=minidomainnet, trainer.epochs=3,"),
    ],
)
def test_another_search_takes_no_choice_of_the_published_one(results, tmp_path, old, new):
    without_searches(results)
    plan = plan_of(change(old, new), tmp_path / "outputs", results)
    assert f"{RATE}0.0003" in [cell.overrides[-2] for cell in plan.ready() if cell.row == "vanilla"]


def test_the_rule_one_std_error_needs_every_score_of_an_extended_grid(small_table, results, tmp_path):
    table, outputs = change("rule: best", "rule: one_std_error"), tmp_path / "outputs"
    for run in json.loads((results / "small" / "manifest.json").read_text())["cells"]:
        write_run(table.cell(run["row"], run["seed"], tuple(run["overrides"][4:-1])), outputs, 70, validation=60)
    write_run(table.cell("vanilla", 100, (f"{RATE}0.0003",)), outputs, 70, validation=10)
    publish(gather(table, outputs), {}, results)
    shutil.rmtree(outputs)
    without_searches(results)
    assert plan_of(table, outputs, results).ready() == [], "the same grid: its winner is known"
    text = SMALL.replace("rule: best", "rule: one_std_error").replace("[3e-4, 1e-3]", "[3e-4, 1e-3, 3e-3]")
    write_text(spec.CONFIGS / "tables" / "small.yaml", text)
    ready = plan_of(load_table("small"), outputs, results).ready()
    assert [cell.overrides[-2] for cell in ready] == [f"{RATE}0.0003", f"{RATE}0.003"]


def test_half_a_search_goes_on_elsewhere(small_table, tmp_path):
    """Its results are published before it is done; the winner's predictions are made where they are printed."""
    table, outputs = small_table
    three = change("[3e-4, 1e-3]", "[3e-4, 1e-3, 3e-3]")
    for seed in table.seeds:  # only the search's own runs of the row are there
        if seed != 100:
            shutil.rmtree(table.cell("vanilla", seed, (f"{RATE}1e-3",)).folder(outputs))
    scores = gather(three, outputs)
    assert [run.row for run in scores.runs].count("vanilla") == 0 and len(scores.source.searches) == 2
    place, _ = publish(scores, {}, tmp_path / "results")
    assert verify_table(place).differences == []
    plan = Plan(three, tmp_path / "elsewhere", Published(place))
    walk = iter(Stages(plan))
    (last,) = next(walk)
    assert f"{RATE}0.003" in last.overrides
    write_run(last, plan.outputs, 70, validation=50)
    assert sorted((cell.seed, cell.overrides[-2]) for cell in next(walk)) == [
        (100, f"{RATE}0.001"),
        (101, f"{RATE}0.001"),
    ]


def test_a_run_that_starts_from_a_published_one_needs_its_weights(results, tmp_path, monkeypatch, capsys):
    table, outputs = more_rows("WiSE-FT: {overrides: [optim=wise_ft], start: vanilla}"), tmp_path / "outputs"
    plan = plan_of(table, outputs, results)
    stages = [[(cell.row, cell.seed) for cell in batch] for batch in _made(plan)]
    assert stages == [[("vanilla", 100), ("vanilla", 101)], [("WiSE-FT", 100), ("WiSE-FT", 101)]]
    shutil.rmtree(outputs)
    text = cost.dry_run(plan)
    assert text.count("missing  minidomainnet/") == 4 and text.count("published  minidomainnet/") == 5
    states = {(found.cell.row, found.cell.seed): found for found in run_states.table_status(plan)}
    assert states["vanilla", 101].note == "published; made again for its weights"
    printed = run_script("status", monkeypatch, capsys, "table=small", f"outputs={outputs}", "published=reuse")
    assert "5 published, 4 pending" in printed
    assert "6 pending" in run_script("status", monkeypatch, capsys, "table=small", f"outputs={outputs}")


def _made(plan):
    for batch in Stages(plan):
        for cell in batch:
            write_run(cell, plan.outputs, 60)
        yield batch


def test_a_changed_file_is_not_used(results, tmp_path):
    table, outputs = load_table("small"), tmp_path / "outputs"
    for pattern in ("runs/*.npz", "runs/*.json", "searches/*.json"):
        file = sorted(results.glob(f"small/{pattern}"))[0]
        content = file.read_bytes()
        for changed in (content + b" ", None):
            file.unlink() if changed is None else file.write_bytes(changed)
            with pytest.raises(DigrapError) as error:
                gather(table, outputs, published=Published(results / "small"))
            assert str(file) in str(error.value) and f"restore {results / 'small'} as it was" in str(error.value)
            file.write_bytes(content)
    assert gather(table, outputs, published=Published(results / "small")).missing == []


def test_other_data_and_protocols_are_not_mixed(results, tmp_path, monkeypatch):
    table, outputs = more_rows(), tmp_path / "outputs"
    for seed in table.seeds:
        write_run(table.cell("L2-SP", seed), outputs, 60, protocol="paper")
    with pytest.raises(DigrapError, match=r"mixed protocol: .*\n(.*\n)*  paper: L2-SP, seed 100"):
        gather(table, outputs, published=Published(results / "small"))
    plain = synthetic_runs.truth
    monkeypatch.setattr(synthetic_runs, "truth", lambda seed: plain(seed + 1))
    for seed in table.seeds:
        write_run(table.cell("L2-SP", seed), outputs, 60)
    with pytest.raises(DigrapError) as error:
        gather(table, outputs, published=Published(results / "small"))
    assert "published runs were tested on other examples than those in outputs:\n  published: zero-shot" in str(
        error.value
    )
    assert "\n  outputs: L2-SP, seed 10" in str(error.value) and "give published=ignore" in str(error.value)


def test_a_winner_that_its_search_does_not_give_is_found(results):
    file = next(results.glob("small/searches/*.json"))
    plain = json.loads(file.read_text())
    plain["selection"]["score"] = plain["scores"]["real_val"]["accuracy"] = 90.0
    file.write_text(json.dumps(plain))
    found = "\n".join(verify_table(results / "small").differences)
    assert "differs from the manifest (sha256)" in found
    assert "vanilla, seed 101 (" in found and "its search gives dataset=minidomainnet" in found


def test_the_sweeper_makes_what_is_not_published(results, tmp_path, monkeypatch):
    place = f"hydra.sweep.dir={tmp_path / 'outputs' / 'minidomainnet'}"
    monkeypatch.setattr(winners, "CONFIGS", spec.CONFIGS)
    run = call("train.py", "-m", "table=small", "published=reuse", place)
    assert run.returncode == 0 and "table small: 7 of 7 runs are done" in run.stdout, run.stderr
    assert (spec.CONFIGS / "best" / "small" / "vanilla.yaml").exists()
    more_rows()
    run = call("train.py", "-m", "table=small", f"published={results}", "dry_run=true", place)
    assert run.returncode == 0 and "7 of the 9 runs known so far are done." in run.stdout, run.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "table=10", "published=reuse"], "10/manifest.json; give reuse for "),
        (["-m", "table=mini", "published=true"], "published=True: there is no True/mini/manifest.json"),
        (["published=reuse"], "published=reuse needs a table: python train.py -m table=… published=reuse"),
    ],
)
def test_wrong_calls_are_one_message(words, message):
    run = call("train.py", *words)
    assert run.returncode == 2 and message in run.stderr and "Traceback" not in run.stderr


def test_the_job_that_plans_the_next_stage_takes_published_runs_too(results, tmp_path):
    plan, options = plan_of(load_table("small"), tmp_path / "outputs", results), OmegaConf.create(sbatch.DEFAULTS)
    assert f"published={results}" in sbatch._again(options, plan, [], [], 0.0)
    assert not [
        word for word in sbatch._again(options, Plan(plan.table, plan.outputs), [], [], 0.0) if "published" in word
    ]
