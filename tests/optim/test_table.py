"""The table in docs/methods.md, cell by cell: what each rule does in each way in which AdamW is used."""

import re

import pytest

from digrap.core.paths import REPO
from tests.optim.table_cells import CELLS, RULES, WAYS, as_markdown
from tests.optim.table_runs import CHECKS
from tests.optim.test_accelerate import fresh_accelerate  # noqa: F401  a fixture for all tests

pytestmark = pytest.mark.filterwarnings("ignore")  # from the frameworks, about workers and each other


@pytest.mark.parametrize("cell", [pytest.param(cell, id=f"{cell.rule}-{cell.way}") for cell in CELLS])
def test_cell(cell, tmp_path):
    CHECKS[cell.way](cell, tmp_path)


def test_the_document_has_this_table_and_a_note_for_every_caveat():
    assert len(CELLS) == len(RULES) * len(WAYS) == 65
    text = (REPO / "docs" / "methods.md").read_text()
    assert as_markdown() in text
    section = text[text.index(as_markdown()) :].partition("\n## ")[0]
    wanted = {cell.verdict.removeprefix("caveat ") for cell in CELLS if cell.verdict.startswith("caveat")}
    assert wanted == set(re.findall(r"^(\d)\. ", section, re.MULTILINE))
