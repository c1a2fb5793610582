"""A table in a file of its own: its winners lie beside it, and never among those of the repository."""

import shlex

import pytest

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.paths import CONFIGS
from digrap.report.gather import from_outputs
from digrap.runs.folder import RunFolder
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import load_table
from digrap.tables.winners import write_winners
from tests.synthetic_runs import VALIDATION, result

TABLE = """
title: mine
overrides: [dataset=minidomainnet]
seeds: [0]
search: {seeds: [0], rule: best}
rows:
  vanilla: {overrides: [optim=vanilla], grid: {trainer.base.lr: [3e-4, 1e-3]}}
"""


@pytest.fixture
def own(tmp_path):
    """A file that is called like a table of the repository, in a folder with a space in its name."""
    file = tmp_path / "my tables" / "mini.yaml"
    file.parent.mkdir()
    file.write_text(TABLE)
    return file


def test_winners_lie_beside_the_file_and_the_repositorys_stay(own, tmp_path):
    before = {path: path.read_bytes() for path in (CONFIGS / "best").rglob("*") if path.is_file()}
    plan = Plan(load_table(str(own)), tmp_path / "outputs")
    for cell in plan.search_cells(plan.table.rows["vanilla"], 0):
        score = 70 + 1000 * cell.config.trainer.base.lr
        RunFolder(cell.folder(plan.outputs)).write_results(result({VALIDATION: ("id_val", 100, score)}, 0))
    written = write_winners(plan)
    assert written == [own.parent / "best" / "mini" / "vanilla.yaml"]
    assert {path: path.read_bytes() for path in (CONFIGS / "best").rglob("*") if path.is_file()} == before
    (command,) = [line[2:] for line in written[0].read_text().splitlines() if line.startswith("# python")]
    winner = plan.final(plan.table.rows["vanilla"], 0)
    assert run_hash(compose(shlex.split(command)[2:])) == run_hash(winner.config)


def test_a_table_of_the_repository_given_as_a_file_is_no_own_one(own):
    assert load_table(str(CONFIGS / "tables" / "mini.yaml")) == load_table("mini")
    assert load_table("mini").own_file is None and load_table(str(own)).own_file == own.resolve()


def test_the_command_of_what_waits_names_the_file(own, tmp_path):
    (missing,) = from_outputs(load_table(str(own)), tmp_path / "outputs").missing
    assert shlex.split(missing.command) == ["python", "train.py", "-m", f"table={own}"]
