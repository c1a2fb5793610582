"""Table 3 in miniature: every cell composes; a small version runs through the sweeper, is published and verifies."""

import json
from dataclasses import asdict

import pytest
from omegaconf import OmegaConf

from digrap.core.paths import CONFIGS
from digrap.report import figures, render
from digrap.report.publish import publish
from digrap.report.scores import gather
from digrap.report.verify import verify_table
from digrap.runs.folder import RunFolder
from digrap.tables import spec
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import load_table
from tests.data.minivqa import TINY
from tests.doors import call

TITLES = ["ID", "IV", "CV", "Reph.", "CP", "CE", "Ad.", "near mean", "Text", "Viz", "OK", "far mean"]
ROWS = ("vanilla", "LP", "LP-FT", "WiSE-FT", "DiGraP")


def test_every_cell_composes_and_the_file_counts_the_runs(tmp_path):
    table = load_table("mini_3")
    plan, path = Plan(table, tmp_path), CONFIGS / "tables" / "mini_3.yaml"
    tries = {label: len(row.choices()) for label, row in table.rows.items()}
    for row in table.rows.values():  # winners are not known: the first choice stands for each
        for choice in dict.fromkeys((row.choices()[0], row.choices()[-1])):
            config = plan.cell(row, 0, choice).config
            backbone = "tiny_paligemma" if row.block is None else "tiny_blip"
            assert (config.dataset.name, config.backbone.name) == ("minivqa", backbone)
            assert config.peft.name == ("none" if row.label == "full FT" else "lora")
    searched = sum(count for count in tries.values() if count > 1)
    finals = sum(len(table.seeds) - (count > 1) for count in tries.values())  # the winner of seed 0 is there already
    text = path.read_text()
    assert f"{searched + finals} runs: {searched} of searches on seed 0, then {finals}." in text.replace("\n# ", " ")
    assert tries["vanilla"] >= 3 and table.pilot
    own = {label for label in tries if label in ("L2-SP", "FTP", "SPD", "DiGraP", "DiGraP + λ")}
    assert len(own) == 5 and len({tries[label] for label in own}) == 1  # no method has more tries than another
    group = {label: row.grid for label, row in table.rows.items() if row.block == "tiny BLIP"}
    assert group == {f"{label} (tiny BLIP)": table.rows[label].grid for label in ("zero-shot", "vanilla", "DiGraP")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A part of the table with few questions, one epoch and one seed, run by the sweeper."""
    root = tmp_path_factory.mktemp("mini_3")
    plain = OmegaConf.to_container(OmegaConf.load(CONFIGS / "tables" / "mini_3.yaml"))
    plain["overrides"] += [f"dataset.sizes.{name}={size}" for name, size in asdict(TINY).items()]
    plain["overrides"] += ["trainer.epochs=1", "trainer.batch_size=20", "trainer.micro_batch=20", "log_every=1"]
    plain["overrides"] += [f"data_root={root}", "device=cpu"]
    plain["seeds"], plain["rows"], plain["groups"] = [0], {label: plain["rows"][label] for label in ROWS}, {}
    for row in plain["rows"].values():
        if isinstance(row, dict) and "grid" in row:
            row["grid"] = {"trainer.base.lr": [1e-3, 3e-3] if "vanilla" in row["overrides"][0] else [1e-3]}
    file = root / "configs" / "tables" / "small_3.yaml"
    file.parent.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(plain), file)
    run = call("train.py", "-m", f"table={file}", f"hydra.sweep.dir={root / 'outputs' / 'minivqa'}")
    return root, run


@pytest.fixture
def table(made, monkeypatch):
    """The same as a table of the repository, which alone can be published; its runs count as committed ones."""
    root, _ = made
    for file in root.glob("outputs/*/*/results.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"dirty": False}))
    with monkeypatch.context() as patch:
        patch.setattr(spec, "CONFIGS", root / "configs")
        yield load_table("small_3"), root / "outputs"


@pytest.mark.slow
def test_the_sweeper_makes_every_run(made):
    root, run = made
    assert run.returncode == 0, run.stderr
    assert len(list(root.glob("outputs/minivqa/*/results.json"))) == 6
    assert {file.stem for file in (root / "configs" / "tables" / "best" / "small_3").iterdir()} == {
        "vanilla", "lp", "lp_ft", "wise_ft", "digrap",
    }  # fmt: skip


@pytest.mark.slow
def test_rows_go_on_from_the_winners_of_others(table):
    plan = Plan(*table)
    for row, start in (("LP-FT", "LP"), ("WiSE-FT", "vanilla")):
        later, earlier = (plan.final(plan.table.rows[label], 0).folder(plan.outputs) for label in (row, start))
        assert RunFolder(later).results().start["hash"] == RunFolder(earlier).results().hash


@pytest.mark.slow
def test_it_is_rendered_published_and_verified(table, tmp_path):
    scores = gather(*table)
    assert scores.missing == [] and render.header(scores) == ["", *TITLES, "Δ ID", "Δ OOD", "n"]
    pictures = {f"small_3_{name}.png": figures.as_png(drawn) for name, drawn in figures.draw(scores).items()}
    assert "small_3_id_ood.png" in pictures
    place, _ = publish(scores, pictures, tmp_path / "results")
    checked = verify_table(place)
    assert checked.differences == [] and checked.runs == 5
    assert f"| {' | '.join(TITLES)} |" in (place / "small_3.md").read_text()
    assert " & ".join(TITLES) in (place / "small_3.tex").read_text()
    columns = {line.split(",")[1] for line in (place / "small_3.csv").read_text().splitlines()[1:]}
    assert columns == {*TITLES, "OOD mean"}
