"""Committed files agree: published tables verify, and winners' files compose to the published runs."""

import json

import pytest

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.paths import CONFIGS, REPO
from digrap.report.verify import verify
from digrap.tables.spec import load_table

PUBLISHED = REPO / "docs" / "results"
WINNERS = sorted((CONFIGS / "best").glob("*/*.yaml"))


def test_published_tables_verify():
    checked = list(verify(PUBLISHED))
    assert "mini" in {table.name for table in checked}
    for table in checked:
        assert table.differences == [] and table.runs > 0, table.name


@pytest.mark.parametrize("path", WINNERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_winner_composes_to_its_published_run(path):
    name = path.parent.name
    cells = json.loads((PUBLISHED / name / "manifest.json").read_text())["cells"]
    rows = {row.slug: row.label for row in load_table(name).rows.values()}
    cell = next(cell for cell in cells if cell["row"] == rows[path.stem])
    assert run_hash(compose([f"best={name}/{path.stem}", f"seed={cell['seed']}"])) == run_hash(
        compose(cell["overrides"])
    )


def test_every_row_of_the_pilot_has_its_winner():
    assert {path.stem for path in WINNERS if path.parent.name == "mini"} == {
        row.slug for row in load_table("mini").rows.values()
    }
