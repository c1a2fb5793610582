"""Tables of the paper on small data in the official layouts, from the check of the files to the rendered table."""

import csv

import pytest

from digrap.tables.changes import changes_runs
from digrap.tables.spec import load_table
from tests.rehearsal import SMALL, TABLES, rehearse, small_table


@pytest.mark.slow
@pytest.mark.parametrize("table", ["2", "3"])
def test_a_table_is_rehearsed(tmp_path, table):
    place = rehearse(table, tmp_path)
    with open(place / f"{table}.csv", encoding="utf-8") as file:
        rows = {line["row"] for line in csv.DictReader(file)}
    assert rows == set(load_table(table).rows)


def test_every_table_of_a_real_dataset_can_be_rehearsed():
    assert {"1", "2", "3", "4b", "8", "9", "10"} == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_a_rehearsal_is_the_real_ones_but_for_its_sizes(tmp_path, table):
    """Sizes that the rows set themselves are refused on the command line."""
    name, sizes = small_table(table, tmp_path, SMALL)
    real, small = load_table(table), load_table(name, extra=tuple(sizes))
    assert changes_runs(small, sizes)
    assert list(small.rows) == list(real.rows) and small.columns == real.columns
    keys = [size.partition("=")[0] for size in SMALL]
    for label, row in real.rows.items():
        assert (small.rows[label].grid, small.rows[label].start) == (row.grid, row.start)
        assert [own for own in small.rows[label].overrides if own.partition("=")[0] not in keys] == [
            own for own in row.overrides if own.partition("=")[0] not in keys
        ]
    for label in (list(real.rows)[1], list(real.rows)[-1]):  # of the first block, and of the last
        trainer = small.cell(label, 100).config.trainer
        assert [f"{key}={trainer[key.removeprefix('trainer.')]}" for key in keys] == SMALL
