"""Exactly those folders are deleted that no table refers to."""

import importlib
import os
import time

import numpy as np
import pytest
from filelock import FileLock

from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text
from digrap.runs.predictions import PREDICTIONS, labels_file, truth_of, write_bundle
from digrap.tables import clean
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import Row, Search, Table
from tests.synthetic_runs import VALIDATION, result

LOST, FRESH = "0123456789", "0123456789-fresh1"


@pytest.fixture(scope="module")
def table():
    rows = [
        Row("vanilla", ("optim=vanilla",), {"trainer.base.lr": ("1e-4", "1e-3")}),
        Row("WiSE-FT", ("optim=wise_ft",), {}, "vanilla"),
        Row("LP-FT", ("optim=lp_ft",), {}),
    ]
    rows = {row.label: row for row in rows}
    return Table("t", "t", ("dataset=minidomainnet",), (1,), rows, None, Search((0,)), {}, None)


@pytest.fixture(scope="module")
def cells(table):
    return clean.every_cell([table, table])


def make(folder, labels=None, age=3600, done=True):
    """A run folder; predictions of these labels, if any."""
    write_text(folder / "config.yaml", "optim: {name: digrap}\nseed: 3\n")
    write_json(folder / "run.json", {})
    if labels is not None:
        answers = {"real": {"prediction": np.array([0, 1])}}
        write_bundle(folder / PREDICTIONS, answers, {"real": {"label": np.array(labels)}})
    if done:
        write_json(folder / "results.json", result({VALIDATION: ("id_val", 2, 50.0)}, seed=4, method="spd"))
    for path in folder.iterdir():
        os.utime(path, (time.time() - age,) * 2)
    return folder


def listed(outputs, cells=()):
    return {item.place: item for item in clean.find(outputs, cells)}


def test_every_run_a_table_may_need(table, cells, tmp_path):
    assert len(cells) == len({cell.place for cell in cells}) == 2 * 2 + 2 * 2 + 2
    wise = [cell for cell in cells if cell.row == "WiSE-FT" and cell.seed == 1]
    vanilla = [cell for cell in cells if cell.row == "vanilla" and cell.seed == 1]
    assert [cell.start_place for cell in wise] == [cell.place for cell in vanilla]
    assert {cell.place for cell in Plan(table, tmp_path).known()} <= {cell.place for cell in cells}


def test_runs_of_tables_and_their_starts_stay(cells, tmp_path):
    starts = {cell.start_place for cell in cells if cell.start_place}
    for place in {cell.place for cell in cells} | starts:
        make(tmp_path / place)
    assert not listed(tmp_path, cells)
    make(tmp_path / "minidomainnet" / LOST)
    make(tmp_path / "minidomainnet" / FRESH)
    assert set(listed(tmp_path, cells)) == {f"minidomainnet/{LOST}", f"minidomainnet/{FRESH}"}


def test_nothing_is_composed_when_all_is_known(cells, tmp_path):
    assert clean.unreferenced([cells[0].place], iter([cells[0], None])) == set()


def test_what_a_leftover_is(tmp_path):
    make(tmp_path / "a" / LOST)
    make(tmp_path / "a" / FRESH, done=False)
    make(tmp_path / "b" / LOST, done=False)
    (tmp_path / "b" / LOST / "config.yaml").write_text("[")
    write_text(tmp_path / "b" / "0000000000" / "train.log", "")
    found = listed(tmp_path)
    assert found[f"a/{LOST}"].what == "spd, seed 4, done"
    assert found[f"a/{FRESH}"].what == f"digrap, seed 3, stopped, a repeat of {LOST}"
    assert found[f"b/{LOST}"].what == "method unknown, stopped"
    assert found["b/0000000000"].what == "method unknown, never begun"
    assert found[f"a/{LOST}"].size == sum(path.stat().st_size for path in (tmp_path / "a" / LOST).iterdir())


def test_what_looks_like_no_run_is_not_seen(tmp_path):
    for name in ("tables", "exports", "0123456789x", "01234567", "0123456789-fresh", "0123456789-fresh0", "ABCDEF0123"):
        make(tmp_path / "a" / name)
    write_text(tmp_path / "a" / LOST / "thesis.tex", "")  # right name, no run
    make(tmp_path / LOST)  # a level too high
    (elsewhere := tmp_path.parent / f"{tmp_path.name}-elsewhere").mkdir()
    make(elsewhere / LOST)
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "a" / "1111111111").symlink_to(elsewhere / LOST)
    assert not listed(tmp_path)
    with pytest.raises(DigrapError, match="there is no such folder"):
        clean.find(tmp_path / "none", [])


def test_running_runs_stay(tmp_path):
    held = make(tmp_path / "a" / LOST, done=False)
    new = make(tmp_path / "a" / "1111111111", done=False, age=60)
    later = make(tmp_path / "a" / "2222222222", done=False)
    with FileLock(held / ".lock"):
        found = listed(tmp_path)
        assert found[f"a/{LOST}"].kept == "it is running"
        assert found["a/1111111111"].kept == "it was written to in the last ten minutes"
        with FileLock(later / ".lock"):  # started after the list was made
            deleted, kept = clean.delete(found.values())
    assert not deleted and len(kept) == 3 and new.exists() and (held / "config.yaml").exists() and later.exists()


def test_labels_go_with_their_last_run(cells, tmp_path):
    kept = make(tmp_path / cells[0].place, [0, 0])
    make(kept.parent / LOST, [1, 1])
    make(kept.parent / FRESH, [0, 0])
    write_bundle(kept.parent / "x" / "y.npz", {}, {"real": {"label": np.array([2, 2])}})
    write_text(kept.parent / "labels" / "notes.npz", "")
    labels = set(kept.parent.glob("labels/*"))
    found = listed(tmp_path, cells)
    assert len([place for place in found if "/labels/" in place]) == 2
    deleted, left = clean.delete(found.values())
    assert len(deleted) == 4 and not left
    digest = truth_of(kept / PREDICTIONS)
    assert set(kept.parent.glob("labels/*")) == {labels_file(kept.parent, digest), kept.parent / "labels" / "notes.npz"}
    assert kept.exists() and not (kept.parent / LOST).exists() and not (kept.parent / FRESH).exists()
    assert len(labels) == 4 and not listed(tmp_path, cells)


@pytest.mark.parametrize("reason", ["a run is going on", "predictions cannot be read"])
def test_labels_in_doubt_stay(cells, tmp_path, reason):
    kept = make(tmp_path / cells[0].place, done=False)
    write_bundle(kept.parent / "x" / "y.npz", {}, {"real": {"label": np.array([2, 2])}})
    (kept.parent / "x" / "y.npz").unlink()
    assert len(listed(tmp_path, cells)) == 1
    if reason == "a run is going on":
        with FileLock(kept / ".lock"):
            assert not listed(tmp_path, cells)
    else:
        (kept / PREDICTIONS).write_bytes(b"PK")
        assert not listed(tmp_path, cells)


def test_the_script_deletes_only_when_told(cells, tmp_path, capsys, monkeypatch):
    script = importlib.import_module("digrap.cli.clean")
    monkeypatch.setattr(script.clean, "every_cell", lambda tables: list(tables) and cells)  # the shipped ones load
    lost, kept = make(tmp_path / "minidomainnet" / LOST, [1, 1]), make(tmp_path / cells[0].place)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["clean.py", f"outputs={tmp_path}", *arguments])
        script.main()
        return capsys.readouterr().out

    text = run()
    assert LOST in text and "spd, seed 4, done" in text and "labels of no run" in text and "0.0 MB in total" in text
    assert lost.exists()
    assert "freed 0.0 MB: 2 deleted, 0 kept" in run("delete=true")
    assert not lost.exists() and kept.exists()
    assert "nothing" in run("delete=true")
    with pytest.raises(DigrapError, match="delete=perhaps: give true or false"):
        run("delete=perhaps")
