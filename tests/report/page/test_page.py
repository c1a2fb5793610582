"""The page as its door writes it: whole, escaped, valid, without a network."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from digrap.cli.door import door
from digrap.core.paths import REPO
from digrap.report import render
from digrap.report.publish import publish
from digrap.report.scores import gather
from tests.report.page.pages import check, make, write_config
from tests.synthetic_runs import script

EVIL = "<script>alert(1)</script>"


def test_the_page_of_a_table_and_its_runs(demo, outputs, monkeypatch, capsys):
    table, cells = demo
    first = cells["zero-shot"][0]
    for row in cells.values():
        for cell in row:
            if cell.folder(outputs).exists():
                write_config(cell, outputs, **({"optim.note": EVIL} if cell is first else {}))
    results = first.folder(outputs) / "results.json"
    plain = json.loads(results.read_text())
    plain |= {"method": EVIL, "dirty": True, "caveats": [EVIL], "commit": "\"'><img src=x onerror=alert(1)>"}
    plain |= {"measured": {"evaluated_per_s": 91.25, "peak_memory": {"host_mb": 71.2, "device_mb": 63.0}}}
    results.write_text(json.dumps(plain))
    facts = cells["DiGraP"][0].folder(outputs) / "run.json"  # of a run made before results had it
    facts.write_text('{"evaluated_per_s": 17.5, "peak_memory": {"host_mb": 812.4}}')
    text = make(monkeypatch, outputs, runs=10)
    read = check(text)
    assert EVIL not in text and "&lt;script&gt;alert(1)" in text
    scores = gather(table, outputs, dirty=True)
    assert {str(cell) for row in render.body(scores) for cell in row} <= set(read.cells)
    assert "with uncommitted changes" in text and "Highest ID: " in text and "DiGraP: ω ended at " in text
    assert len(read.svgs) >= 4  # accuracy, differences, ω, ‖δ‖
    assert len(re.findall(r'<details id="run-\d+" class="run">', text)) == 10
    for said in ("91.25", "71 MB on the host, 63 MB on the device", "17.5", "812 MB on the host"):
        assert said in text
    command = next(cell for cell in cells["DiGraP"]).command
    assert command in text  # of a run, and the commands of what is missing
    assert all(missing.command in text.replace("&#39;", "'") for missing in scores.missing)
    printed = capsys.readouterr()
    assert printed.out.startswith("tables: 1, runs: 10, ") and not printed.err
    assert "1 older run not shown: runs=11 shows all" in printed.out and "1 older run not shown" in text


@pytest.mark.slow
def test_html5lib_finds_no_fault(demo, outputs, monkeypatch):
    html5lib = pytest.importorskip("html5lib", reason="html5lib is a dev dependency: pip install -e '.[all,dev]'")
    html5lib.HTMLParser(strict=True).parse(make(monkeypatch, outputs, runs=3))


def test_published_tables_need_no_outputs(small_table, tmp_path, monkeypatch, capsys):
    publish(gather(*small_table), {}, tmp_path / "results")
    empty = tmp_path / "nothing"
    empty.mkdir()
    text = make(monkeypatch, empty, published=tmp_path / "results")
    check(text)
    assert str(tmp_path / "results" / "small") in text and 'id="runs"' not in text
    assert "DiGraP: gains +" in text and "Highest ID: DiGraP with 91.0 %" in text
    assert "No figures of layers: these runs have no statistics" in text
    assert capsys.readouterr().out.startswith("tables: 1, runs: 0, ")


def test_the_seeds_of_a_named_table_and_what_older_tables_lack(small_table, tmp_path, monkeypatch, capsys):
    table, outputs = small_table
    old = gather(table, outputs)
    publish(replace(old, source=replace(old.source, explained=False)), {}, tmp_path / "results")
    text = make(monkeypatch, outputs, published=tmp_path / "results", table="small")
    assert "At the edge of its grid" in text and "OOD at matched ID" not in text  # one rate alone is published
    text = make(monkeypatch, outputs, published=tmp_path / "results", table="small", seeds=100)
    assert "seeds 100; a seed draws" in text and "OOD at matched ID" in text  # both ran in outputs
    assert f"the page, to open in a browser: {outputs / 'page.html'}" in capsys.readouterr().out


def test_a_table_of_which_some_seeds_ran_is_shown_over_those(demo, outputs, monkeypatch):
    _, cells = demo
    for row in cells.values():
        for cell in row:
            if cell.seed == 2 or cell.seed == 1 and cell.row.startswith("vanilla"):
                shutil.rmtree(cell.folder(outputs), ignore_errors=True)
    text = make(monkeypatch, outputs, table="demo").replace("&#39;", "'")
    top = text[: text.index('<table class="sortable">')]
    assert "Shown over seeds 0, 1 of 0, 1, 2: no run of the others is finished." in top
    assert "4 of 10 runs are missing" in top and "<code>python train.py -m table=demo</code>" in text
    assert "over n runs; seeds 0, 1; a seed" in text and cells["DiGraP"][2].command not in text
    assert "Highest ID: DiGraP with 81.5 %; not tested: 1 run is missing." in text
    assert "Shown over" not in make(monkeypatch, outputs, table="demo", seeds="0,1")
    assert "11 of 15 runs are missing" not in make(monkeypatch, outputs, table="demo", seeds="0,1")


def test_nothing_finished_is_said(tmp_path, monkeypatch, quick, capsys):
    text = make(monkeypatch, tmp_path, table="demo")
    check(text)
    assert "Nothing is finished yet" in text
    said = "table demo: none of its runs is finished; python train.py -m table=demo"
    assert said in text and f"warning: {said}" in capsys.readouterr().err


def test_damaged_runs_and_tables_are_named_and_all_else_is_shown(demo, outputs, monkeypatch, capsys):
    _, cells = demo
    broken, empty = (cells["zero-shot"][k].folder(outputs) for k in (0, 1))
    (broken / "results.json").write_text('{"schema": 1}')
    (empty / "predictions.npz").write_bytes(b"")
    text = make(monkeypatch, outputs, table="demo")
    check(text)
    assert text.count('class="run"') == 10 and text.count("is damaged") >= 2
    warned = capsys.readouterr().err
    assert f"warning: {broken / 'results.json'} is damaged" in warned and "warning: table demo: " in warned


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table=nope"], "table=nope: there is no such table"),
        (["runs=-1"], "runs=-1: give a whole number from 0"),
        (["pictures=maybe"], "pictures=maybe: give true or false"),
        (["outputs=/no/such"], "outputs=/no/such: there is no such folder"),
        (["published=/no/such"], "published=/no/such: there is no such folder"),
        (["tables=mini"], "unknown argument 'tables=mini'"),
        (["seeds=0"], "seeds=0: also name the tables that they belong to"),
    ],
)
def test_bad_options_are_one_line(words, said, tmp_path, monkeypatch, capsys):
    out = tmp_path / "page.html"
    monkeypatch.setattr(sys, "argv", ["scripts/report.py", f"out={out}", *words])
    assert door(script("report").main) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {said}") and printed.count("\n") == 1 and not out.exists()


@pytest.mark.slow
def test_the_door_from_a_shell(outputs):
    out = outputs / "page of mine.html"
    words = [sys.executable, "scripts/report.py", "table=demo", f"outputs={outputs}", f"out={out}", "pictures=false"]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0 and str(out) in done.stdout
    check(out.read_text())
