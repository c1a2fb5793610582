"""Tables 2, 8 and 9 in miniature: every row takes the winner of its row in mini_3."""

import pytest
from omegaconf import OmegaConf

from digrap.config.compose import start_config
from digrap.core.paths import CONFIGS
from digrap.report import render
from digrap.report.scores import gather
from digrap.tables.spec import load_table
from tests.doors import call

TWINS = {
    "mini_2": ("minidomainnet_ovqa", "tiny_paligemma"),
    "mini_8": ("minivqa", "tiny_llava"),
    "mini_9": ("minidomainnet_ovqa", "tiny_llava"),
}
ROWS = {label: row for label, row in load_table("mini_3").rows.items() if row.block is None}


@pytest.mark.parametrize(
    "name", [name if name == "mini_2" else pytest.param(name, marks=pytest.mark.slow) for name in TWINS]
)
def test_twins_take_the_winners_of_mini_3(name):
    table, (dataset, backbone) = load_table(name), TWINS[name]
    assert table.seeds == (0, 1, 2) and not table.searches and table.baseline == "vanilla"
    assert [label for label in table.rows if "(r 4" not in label] == list(ROWS)
    for label, row in ROWS.items():
        best = OmegaConf.load(CONFIGS / "best" / "mini_3" / f"{row.slug}.yaml")
        cfg, start = table.cell(label, 0).config, start_config(table.cell(label, 0).config)
        assert (cfg.dataset.name, cfg.backbone.name) == (dataset, backbone)
        assert cfg.peft.name == ("none" if label == "full FT" else "lora")
        for key in row.grid:
            assert OmegaConf.select(cfg, key) == OmegaConf.select(best, key), (label, key)
        rates = {"WiSE-FT": "vanilla", "LP-FT": "LP"}
        if label in rates:  # what it is initialised from is this table's own run
            assert table.cell(label, 0).start_place == table.cell(rates[label], 0).place
            assert start.trainer.base.lr == table.cell(rates[label], 0).config.trainer.base.lr
    assert len({table.cell(label, 0).place for label in table.rows}) == len(table.rows)


@pytest.mark.parametrize("name", ["mini_8", "mini_9"])
def test_llavas_twins_have_the_authors_adapters_too(name):
    table = load_table(name)
    for label in ("vanilla", "DiGraP"):
        card, own = table.cell(label, 0).config, table.cell(f"{label} (r 4 on q, v)", 0).config
        assert (own.peft.r, list(own.peft.targets)) == (4, ["q_proj", "v_proj"]) and card.peft.r == 8
        assert own.optim == card.optim and own.trainer == card.trainer


def test_the_printed_table_says_whose_winners_it_takes(tmp_path):
    notes = render.notes(gather(load_table("mini_2"), tmp_path))
    assert "Checkpoint: best ID validation. Hyper-parameters: the winners of mini_3, none tuned here." in notes
    assert not any("Hyper-parameters" in line for line in render.notes(gather(load_table("mini_4b"), tmp_path)))


@pytest.mark.parametrize("name", TWINS)
def test_the_file_counts_its_runs(name):
    table = load_table(name)
    assert f" {len(table.rows) * len(table.seeds)} runs, no search" in (CONFIGS / "tables" / f"{name}.yaml").read_text()


def test_a_winner_that_is_not_there_is_one_message(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("title: t\noverrides: [dataset=minidomainnet]\nseeds: [0]\nrows: {a: [best=mini/vanila]}\n")
    done = call("train.py", "-m", f"table={file}", "dry_run=true")
    assert done.returncode == 2 and done.stderr.startswith("error: best=mini/vanila: no search has chosen it; nearest:")
    assert "vanilla; python train.py -m table=mini runs" in done.stderr and len(done.stderr.splitlines()) == 1
