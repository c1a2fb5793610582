"""Tables of the paper on small data in the official layouts, from the check of the files to the rendered table."""

import csv
import os
from types import SimpleNamespace

import pytest

from digrap.tables.changes import changes_runs
from digrap.tables.spec import load_table
from tests.rehearsal import SMALL, TABLES, rehearse, small_table


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_rehearsed(tmp_path, table):
    place = rehearse(table, tmp_path)
    with open(place / f"{table}.csv", encoding="utf-8") as file:
        rows = {line["row"] for line in csv.DictReader(file)}
    assert rows == set(load_table(table).rows)


def test_every_table_of_a_real_dataset_can_be_rehearsed():
    assert {"1", "2", "3", "4b", "8", "9", "10"} == set(TABLES)


def test_what_a_rehearsal_has_of_its_own_is_printed(tmp_path, monkeypatch, capsys):
    """Every option but those of a person with the data, and what its commands find in their environment."""
    commands, environments = [], []

    class Process(SimpleNamespace):
        def __init__(self, command, env, **_):
            super().__init__(returncode=0, poll=lambda: 0, wait=lambda: 0, terminate=lambda: None)
            commands.append(command[2:])
            environments.append(env.items() - os.environ.items())
            if "scripts/make_tables.py" in command:
                (tmp_path / "tables").mkdir()
                (tmp_path / "tables" / "3.csv").write_text("row,n\nvanilla,1\n")

    monkeypatch.setattr("tests.rehearsal.subprocess", SimpleNamespace(Popen=Process))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    rehearse("3", tmp_path)
    listed = capsys.readouterr().out.partition("\n$ ")[0]
    theirs = {"dataset=vqa_all", "verify_only=true", "protocol=clean", "table=3", "dry_run=true", "-m", "seeds=100",
              "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"}  # fmt: skip
    words = {word for command in commands for word in command} - theirs
    own = {word for word in words if not word.endswith(".py") and str(tmp_path) not in word}
    assert {"images=false", "dirty=allow", "seed=100"} < own
    assert [word for word in own if word not in listed] == []
    assert {name for environment in environments for name, _ in environment} == {"OMP_NUM_THREADS", "HF_HUB_OFFLINE"}
    assert "OMP_NUM_THREADS=1: " in listed and "HF_HUB_OFFLINE=1: " in listed and str(tmp_path) in listed


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
