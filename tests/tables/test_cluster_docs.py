"""What docs/cluster.md says of the tables is what their files say."""

import re

import pytest

from digrap.core.paths import REPO
from digrap.tables.spec import load_table

SAID = re.findall(r"^\| (\w+) \| (\d+) \|", (REPO / "docs" / "cluster.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name, said", SAID)
def test_the_number_of_runs(name, said):
    table = load_table(name)
    count = 0
    for row in table.rows.values():
        choices, searched = len(row.choices()), table.search.seeds or table.seeds
        rest = set(table.seeds) - set(searched)
        count += len(table.seeds) if choices == 1 else choices * len(searched) + len(rest)
    assert count == int(said)


def test_every_table_of_the_paper_is_there():
    assert [name for name, _ in SAID] == ["1", "10", "2", "3", "4b", "8", "9"]
