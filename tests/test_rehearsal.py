"""Tables of the paper on small data in the official layouts, from the check of the files to the rendered table."""

import contextlib
import csv
import io
import os
import re
import shlex
from types import SimpleNamespace

import pytest

from digrap.config.compose import compose
from digrap.core.paths import REPO
from digrap.tables.changes import changes_runs
from digrap.tables.spec import load_table
from tests.rehearsal import SMALL, TABLES, first_run, rehearse, small_table


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_rehearsed(tmp_path, table, capfd):
    place = rehearse(table, tmp_path)
    assert "Missing runs known by now: " in capfd.readouterr().out  # what they cost, by the run that was made first
    with open(place / f"{table}.csv", encoding="utf-8") as file:
        rows = {line["row"] for line in csv.DictReader(file)}
    assert rows == set(load_table(table).rows)


def test_every_table_of_a_real_dataset_can_be_rehearsed():
    assert {"1", "2", "3", "4b", "8", "9", "10"} == set(TABLES)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Table 3's rehearsal whose commands are not run: its folder, they, their environments, and what it printed."""
    root, commands, environments, printed = tmp_path_factory.mktemp("3"), [], [], io.StringIO()

    class Process(SimpleNamespace):
        def __init__(self, command, env, **_):
            super().__init__(returncode=0, poll=lambda: 0, wait=lambda: 0, terminate=lambda: None)
            commands.append(command[1:])
            environments.append(env.items() - os.environ.items())
            if "scripts/make_tables.py" in command:
                (root / "tables").mkdir()
                (root / "tables" / "3.csv").write_text("row,n\nvanilla,1\n")

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr("tests.rehearsal.subprocess", SimpleNamespace(Popen=Process))
        patch.delenv("OMP_NUM_THREADS", raising=False)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        rehearse("3", root)
    return root, commands, environments, printed.getvalue()


def test_what_a_rehearsal_has_of_its_own_is_printed(started):
    """Every option but those of a person with the data, and what its commands find in their environment."""
    root, commands, environments, printed = started
    listed = printed.partition("\n$ ")[0]
    theirs = {"dataset=vqa_all", "verify_only=true", "protocol=clean", "table=3", "dry_run=true", "-m", "seeds=100",
              "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"}  # fmt: skip
    theirs |= set(first_run("3", []))
    words = {word for command in commands for word in command} - theirs
    own = {word for word in words if not word.endswith(".py") and str(root) not in word}
    assert {"images=false", "dirty=allow", "trainer.devices=2"} < own
    assert [word for word in own if word not in listed] == []
    assert {name for environment in environments for name, _ in environment} == {"OMP_NUM_THREADS", "HF_HUB_OFFLINE"}
    assert "OMP_NUM_THREADS=1: " in listed and "HF_HUB_OFFLINE=1: " in listed and str(root) in listed


def test_the_documented_commands_are_the_rehearsed_ones(started):
    """docs/vlm.md's block, but for the folder, the GPUs and what is fetched from elsewhere."""
    page = (REPO / "docs" / "vlm.md").read_text(encoding="utf-8")
    block = page.partition("```bash\n")[2].partition("```")[0]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    documented = [line[1:] for line in lines if line and line[0] == ".venv/bin/python"]
    fetched = ["scripts/download.py", "dataset=vqa_all", "data_root=/disk/data"]
    assert documented.pop(0) == fetched
    named = re.search(r"^\| hours \|.*`.venv/bin/python (.*?)`", page, re.MULTILINE)[1]
    documented.insert(2, shlex.split(named))
    for line, command in zip(documented, started[1], strict=True):
        assert {word for word in line if not word.startswith(("data_root=", "trainer.devices="))} <= set(command)
        assert "-m" in line or "-m" not in command
    (download,) = [line for line in lines if line[1:2] == ["download"]]
    backbone = compose(["dataset=vqav2"]).backbone
    assert download[2:] == [backbone.model, "--revision", backbone.revision]


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
