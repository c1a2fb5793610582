"""Tables of the paper on small data in the official layouts, from the check of the files to the rendered table."""

import csv

import pytest

from digrap.tables.spec import load_table
from tests.rehearsal import TABLES, rehearse


@pytest.mark.slow
@pytest.mark.parametrize("table", ["2", "3"])
def test_a_table_is_rehearsed(tmp_path, table):
    place = rehearse(table, tmp_path)
    with open(place / f"{table}.csv", encoding="utf-8") as file:
        rows = {line["row"] for line in csv.DictReader(file)}
    assert rows == set(load_table(table).rows)


def test_every_table_of_a_real_dataset_can_be_rehearsed():
    assert {"1", "2", "3", "4b", "8", "9", "10"} == set(TABLES)
