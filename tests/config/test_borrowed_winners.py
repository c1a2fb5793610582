"""Rows that take the winner of another table's row: best=<table>/<row>."""

import shutil

import pytest
from omegaconf import OmegaConf

from digrap.config import compose as composing
from digrap.config.compose import start_config
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS
from digrap.report.gather import from_outputs
from digrap.tables import spec
from digrap.tables.clean import every_cell
from digrap.tables.cost import dry_run
from digrap.tables.missing_runs import Plan
from digrap.tables.run_states import waiting
from digrap.tables.spec import load_table
from digrap.tables.winners import as_config
from tests.doors import call

TWINS = {"mini_2": "tiny_paligemma", "mini_9": "tiny_llava"}


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """The repository's configs without winners of mini_3."""
    folder = shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("mini_3"))
    for module in (composing, spec):
        monkeypatch.setattr(module, "CONFIGS", folder)
    return folder


@pytest.fixture
def found(configs, tmp_path, monkeypatch):
    """The same with winners of mini_3: of every row the last point of its grid."""
    table = load_table("mini_3")
    plan = Plan(table, tmp_path)
    monkeypatch.setattr(Plan, "winner", lambda self, row, seed: self.choices(row, seed)[-1])
    for row in table.rows.values():
        file = configs / "best" / "mini_3" / f"{row.slug}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(as_config(plan, row, row.slug, plan.final(row, 0)))
    return plan


@pytest.mark.parametrize("name", TWINS)
def test_twins_take_the_winners_of_mini_3(found, name):
    table = load_table(name)
    table.check_borrowed()
    assert table.seeds == (0, 1, 2) and not table.searches and table.baseline == "vanilla"
    assert [label for label in table.rows if "r 4" not in label] == list(found.table.rows)
    for label, row in found.table.rows.items():
        searched, own = found.final(row, 0).config, table.cell(label, 0).config
        assert (own.dataset.name, own.backbone.name) == ("minidomainnet_ovqa", TWINS[name])
        assert (own.dataset.task, own.dataset.select_by, own.dataset.clip) == ("naming", "EM", None)
        for key in ("optim", "peft", "trainer.base"):
            assert OmegaConf.select(own, key) == OmegaConf.select(searched, key), label
        starts = [start_config(config) for config in (own, searched)]
        assert [start and (start.optim, start.trainer.base) for start in starts][0] == (
            starts[1] and (starts[1].optim, starts[1].trainer.base)
        )
        assert own.trainer.epochs == 10 and own.schedule.warmup_steps == 50
    places = {table.cell(label, 0).place for label in table.rows}
    assert len(places) == len(table.rows)
    vanilla, wise = table.cell("vanilla", 0), table.cell("WiSE-FT", 0)
    assert wise.start_place == vanilla.place and f"{run_hash(vanilla.config)}" in vanilla.place


def test_mini_9_has_the_authors_adapters_too(found):
    table = load_table("mini_9")
    for label in ("vanilla", "DiGraP"):
        card, own = table.cell(label, 0).config, table.cell(f"{label}, r 4 on q, v", 0).config
        assert (own.peft.r, list(own.peft.targets)) == (4, ["q_proj", "v_proj"]) and card.peft.r == 8
        assert own.optim == card.optim and own.trainer == card.trainer


@pytest.mark.parametrize("name", TWINS)
def test_the_file_counts_its_runs_and_every_winner_is_a_row(name):
    table, rows = load_table(name), {row.slug for row in load_table("mini_3").rows.values()}
    borrowed = [row.borrowed for row in table.rows.values() if row.borrowed]
    assert len(borrowed) == len(table.rows) - 1 and {*borrowed} <= {f"mini_3/{slug}" for slug in rows}
    text = (CONFIGS / "tables" / f"{name}.yaml").read_text()
    assert f" {len(table.rows) * len(table.seeds)} runs, no search" in text


def test_without_winners_a_table_is_known_as_far_as_it_goes(configs, tmp_path):
    """Status, costs, clean and rendering go on; what waits is said."""
    table = load_table("mini_2")
    plan = Plan(table, tmp_path)
    assert {cell.row for cell in plan.known()} == {cell.row for cell in every_cell([table])} == {"zero-shot"}
    assert waiting(plan) == "cells that wait: 30 for the winner of their other table"
    assert "30 more cells wait for a winner" in dry_run(plan)
    assert len(from_outputs(table, tmp_path).missing) == 33
    with pytest.raises(DigrapError) as caught:
        table.check_borrowed()
    assert f"and {configs}/best/mini_3 has no vanilla, full_ft, lp, " in str(caught.value)
    assert str(caught.value).endswith(": `python train.py -m table=mini_3` finds them")


def table_file(folder, **rows):
    plain = {"title": "t", "overrides": ["dataset=minidomainnet"], "seeds": [0], "rows": rows}
    file = folder / "own.yaml"
    OmegaConf.save(OmegaConf.create(plain), file)
    return file


def test_the_sweeper_says_it_before_any_run(tmp_path):
    file = table_file(tmp_path, plain=["optim=zero_shot"], taken=["optim=vanilla", "best=none such/vanilla"])
    done = call("train.py", "-m", f"table={file}", f"hydra.sweep.dir={tmp_path / 'outputs' / 'minidomainnet'}")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "best/none such has no vanilla: `python train.py -m 'table=none such'` finds them" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_table_of_nothing_else_says_it_when_rendered(tmp_path):
    with pytest.raises(DigrapError, match="it takes winners of table none, and .*best/none has no a: "):
        from_outputs(load_table(str(table_file(tmp_path, a=["best=none/a"]))), tmp_path)


def test_a_start_takes_no_winner(tmp_path):
    file = table_file(tmp_path, a=["best=mini/vanilla"], b={"overrides": ["optim=wise_ft"], "start": "a"})
    with pytest.raises(DigrapError, match="rows.b.start: 'a' takes the winner mini/vanilla, which a start cannot"):
        load_table(str(file))


def test_a_list_among_overrides_stands_for_them(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        "title: t\noverrides: [dataset=minidomainnet]\nseeds: [0]\n"
        "rows:\n  a: [optim=vanilla, &two [trainer.epochs=3, seed=4]]\n  b: {overrides: [optim=lp, *two]}\n"
    )
    rows = load_table(str(file)).rows
    assert rows["a"].overrides == ("optim=vanilla", "trainer.epochs=3", "seed=4")
    assert rows["b"].overrides == ("optim=lp", "trainer.epochs=3", "seed=4")
