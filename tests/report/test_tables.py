"""Every number of a table against arithmetic by hand; missing and damaged runs are named."""

import csv
import io
import shutil
import subprocess
import sys

import pytest

from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS
from digrap.report import figures, render
from digrap.report.scores import gather
from digrap.tables import spec
from tests.synthetic_runs import script, write_run


@pytest.fixture
def scores(demo, outputs):
    return gather(demo[0], outputs)


def test_columns_follow_the_datasets_kinds(scores):
    assert list(scores.columns) == ["real", "clipart", "sketch", "painting", "infograph", "quickdraw", "OOD mean"]
    assert render.header(scores) == [
        "", "real (ID)", "clipart", "sketch", "painting", "infograph", "quickdraw", "OOD mean", "Δ ID", "Δ OOD",
        "OOD at matched ID", "n",
    ]  # fmt: skip


def test_cells(scores):
    mean, std, n = scores.cell("vanilla, lr 1e-3", "real")
    assert (mean, std, n) == (82.0, pytest.approx(2.0), 3)
    assert scores.cell("vanilla, lr 1e-3", "sketch")[0] == 62.0
    assert scores.cell("zero-shot", "OOD mean")[:2] == (pytest.approx(41.0), pytest.approx(1.0))
    assert scores.cell("DiGraP, ω = 1", "real")[2] == 0


def test_differences_are_paired_by_seed(scores):
    # 78 − 80 and 79 − 82: the third seed has no partner.
    mean, std, n = scores.difference("vanilla, lr 3e-4", "real")
    assert (mean, n) == (-2.5, 2) and std == pytest.approx(0.5**0.5)
    assert scores.difference("DiGraP", "OOD mean")[0] == pytest.approx(0.0)


def test_rows_as_text(scores):
    rows = {row[0]: row[1:] for row in render.body(scores)}
    assert rows["vanilla, lr 1e-3"] == [
        "82.0 ± 2.0", "72.0 ± 2.0", "62.0 ± 2.0", "52.0 ± 2.0", "42.0 ± 2.0", "32.0 ± 2.0", "52.0 ± 2.0", "—", "—", "—",
        "3",
    ]  # fmt: skip
    assert rows["vanilla, lr 3e-4"][-4:] == ["−2.5", "−2.5", "—", "2"]
    assert rows["DiGraP, ω = 1"] == ["—"] * 10 + ["0"]


def test_marks_of_runs_stand_under_the_table(demo, tmp_path):
    table, cells = demo
    write_run(cells["DiGraP"][0], tmp_path, 81, caveats=["validation is in training"])
    assert "Caveat: validation is in training." in render.notes(gather(table, tmp_path))


def test_the_search_for_answers_stands_under_the_table(demo, tmp_path):
    table, cells = demo
    for cell, beams in zip(cells["DiGraP"][:2], (1, 5), strict=True):
        write_run(cell, tmp_path, 81, decoding={"name": f"with {beams}", "beams": beams, "max_new_tokens": 10})
    found = "Decoding: with 1 (1 beam, at most 10 tokens), with 5 (5 beams, at most 10 tokens)."
    assert found in render.notes(gather(table, tmp_path))


def test_one_run_has_no_spread(demo, tmp_path):
    table, cells = demo
    write_run(cells["DiGraP"][0], tmp_path, 81)
    rows = {row[0]: row[1:] for row in render.body(gather(table, tmp_path))}
    assert rows["DiGraP"][0] == "81.0" and rows["DiGraP"][-4:] == ["—", "—", "—", "1"]


def test_missing_runs_come_with_their_command(scores):
    assert "4 of 15 runs are missing." in render.notes(scores)
    text = "\n".join(render.commands(scores))
    assert "python train.py dataset=minidomainnet optim=vanilla trainer.base.lr=3e-4 seed=2" in text
    assert "python train.py dataset=minidomainnet optim=digrap optim.omega=1.0 seed=0" in text


def test_an_empty_folder_is_a_table_of_dashes(demo, tmp_path):
    scores = gather(demo[0], tmp_path)
    assert all(set(row[1:-1]) == {"—"} for row in render.body(scores))
    assert "15 of 15 runs are missing" in render.markdown(scores)
    assert figures.id_against_ood(scores) is None


def test_markdown(scores):
    lines = render.markdown(scores).splitlines()
    assert lines[0] == "**The miniature DomainNet, fine-tuned on real — pilot (seeds below 100)**"
    assert lines[4].startswith("| zero-shot | 71.0 ± 1.0 | 61.0 ± 1.0 |")
    assert "- Commit 0123456789; timm 1.0.31, torch 2.15.0; device cpu." in lines


def test_latex(scores, tmp_path):
    text = render.latex(scores)
    assert r"DiGraP, $\omega$ = 1 & ---" in text and r"82.0 $\pm$ 2.0" in text and r"\toprule" in text
    assert (
        "python" not in text
        and "4 of 15 runs are missing." in text
        and "%" not in text.split("\n", 1)[1].replace(r"\%", "")
    )
    if compiler := shutil.which("tectonic") or shutil.which("pdflatex"):
        whole = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}" + text + "\\end{document}"
        (tmp_path / "t.tex").write_text(whole)
        subprocess.run([compiler, "t.tex"], cwd=tmp_path, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def test_latex_escapes():
    assert render.escape(r"a_b & 5% {x} \y") == r"a\_b \& 5\% \{x\} \textbackslash{}y"


def test_csv_has_full_precision(scores):
    lines = list(csv.DictReader(io.StringIO(render.as_csv(scores))))
    assert len(lines) == 5 * (7 + 1)
    (line,) = [line for line in lines if line["row"] == "zero-shot" and line["column"] == "OOD mean"]
    assert float(line["mean"]) == pytest.approx(41.0) and line["n"] == "3" and line["kind"] == "mean"
    assert float(line["delta"]) == pytest.approx(-11.0)
    assert [line["mean"] for line in lines if line["row"] == "DiGraP, ω = 1"] == [""] * 8


def test_other_seeds(outputs):
    scores = gather(spec.load_table("demo", [0, 1]), outputs)
    assert scores.cell("vanilla, lr 1e-3", "real")[0] == 81.0
    assert "n runs; seeds 0, 1; a seed draws its own pictures and order." in render.notes(scores)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "results.json is damaged"),
        ('{"schema": 7}', "has schema 7, this version reads 1"),
        ("{}", "schema None"),
        ("[]", "holds no mapping"),
        ('{"schema": 1, "scores": {}}', "is damaged .no hash, dataset, backbone, method, metric, seed"),
    ],
)
def test_broken_results_are_named(demo, outputs, content, message):
    table, cells = demo
    (cells["DiGraP"][1].folder(outputs) / "results.json").write_text(content)
    with pytest.raises(DigrapError, match=message):
        gather(table, outputs)


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(DigrapError, match="table=dmo: there is no such table; nearest: demo"):
        spec.load_table("dmo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "while parsing"),
        ("- 1", "a table is a mapping"),
        ("title: t\nroes: {}", "unknown key 'roes'; nearest: rows"),
        ("title: t\noverrides: [a=b]\nseeds: [0]\nrows: {}", "rows must be a dict that is not empty"),
        ("title: t\noverrides: [a=b]\nseeds: [0]\nrows: {a: []}\nbaseline: b", "baseline 'b' is no row"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, monkeypatch, text, message):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "bad.yaml").write_text(text)
    monkeypatch.setattr(spec, "CONFIGS", tmp_path)
    with pytest.raises(DigrapError, match=f"bad.yaml: .*{message}"):
        spec.load_table("bad")


@pytest.mark.slow
def test_every_shipped_table_composes(quick):
    names = [path.stem for path in (CONFIGS / "tables").glob("*.yaml")]
    assert "demo" in names
    for name in names:
        table = spec.load_table(name)
        rows = [row for row in table.rows.values() if row.start is None]
        folders = [table.cell(row.label, table.seeds[0], row.choices()[0]).folder() for row in rows]
        assert len(set(folders)) == len(folders), "two rows are one run"


def test_the_script_prints_and_writes(outputs, tmp_path, capsys, monkeypatch):
    make_tables = script("make_tables")
    monkeypatch.setattr(sys, "argv", ["make_tables.py", "table=demo", f"outputs={outputs}", f"out={tmp_path / 'out'}"])
    make_tables.main()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"demo.md", "demo.tex", "demo.csv", "demo_id_ood.png", "demo_omega.png"}
    printed = capsys.readouterr().out
    assert "82.0 ± 2.0" in printed and "missing" in printed and "demo_omega.png" in printed
    monkeypatch.setattr(sys, "argv", ["make_tables.py", "seeds=a"])
    with pytest.raises(DigrapError, match="seeds=a: give whole numbers"):
        make_tables.main()
