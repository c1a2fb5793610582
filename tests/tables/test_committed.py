"""Committed files agree: published tables verify, and winners' files compose to the published runs."""

import json

import pytest
from omegaconf import OmegaConf

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.paths import CONFIGS, REPO
from digrap.report.verify import verify
from digrap.tables.spec import load_table

PUBLISHED = REPO / "docs" / "results"
# A table that was swept here and is not published has winners too, and nothing that they could be held against.
PUBLISHED_TABLES = {path.parent.name for path in PUBLISHED.glob("*/manifest.json")}
WINNERS = sorted(path for path in (CONFIGS / "best").glob("*/*.yaml") if path.parent.name in PUBLISHED_TABLES)


def cells(name):
    """The printed cells of a published table."""
    return json.loads((PUBLISHED / name / "manifest.json").read_text())["cells"]


TWINS = [name for name in sorted(PUBLISHED_TABLES) if "best=" in str(cells(name))]


def test_published_tables_verify():
    checked = list(verify(PUBLISHED))
    assert "mini" in {table.name for table in checked}
    for table in checked:
        assert table.differences == [] and table.runs > 0, table.name


@pytest.mark.parametrize("path", WINNERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_winner_composes_to_its_published_run(path):
    name = path.parent.name
    rows = {row.slug: row.label for row in load_table(name).rows.values()}
    cell = next(cell for cell in cells(name) if cell["row"] == rows[path.stem])
    assert run_hash(compose([f"best={name}/{path.stem}", f"seed={cell['seed']}"])) == run_hash(
        compose(cell["overrides"])
    )


@pytest.mark.parametrize("name", TWINS)
def test_a_row_that_takes_another_tables_winner_was_run_with_that(name):
    """It is stale once that table has found another one; what takes none is held by the hashes of runs."""
    taken = {cell["row"]: cell for cell in cells(name) if any("best=" in word for word in cell["overrides"])}
    assert [row for row, cell in taken.items() if run_hash(compose(cell["overrides"])) != cell["hash"]] == []


def test_every_row_of_the_pilot_has_its_winner():
    assert {path.stem for path in WINNERS if path.parent.name == "mini"} == {
        row.slug for row in load_table("mini").rows.values()
    }


@pytest.mark.parametrize("row", ["vanilla", "digrap"])
def test_mini_4b_has_the_rate_that_mini_3_has_chosen(row):
    chosen = OmegaConf.load(CONFIGS / "best" / "mini_3" / f"{row}.yaml").trainer.base.lr
    table = load_table("mini_4b")
    label = next(label for label in table.rows if table.rows[label].overrides[0] == f"optim={row}")
    assert compose([*table.overrides, *table.rows[label].overrides]).trainer.base.lr == chosen
