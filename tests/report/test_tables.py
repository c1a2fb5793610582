"""Every number of a table against arithmetic by hand; what is missing or broken is said."""

import csv
import dataclasses
import io
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS
from digrap.report import figures, render
from digrap.report.scores import gather, omega_history
from digrap.tables import spec
from tests.synthetic_runs import script, write_run


@pytest.fixture
def scores(demo, outputs):
    return gather(demo[0], outputs)


def test_columns_follow_the_datasets_kinds(scores):
    assert list(scores.columns) == ["real", "clipart", "sketch", "painting", "infograph", "quickdraw", "OOD mean"]
    assert render.header(scores) == [
        "", "real (ID)", "clipart", "sketch", "painting", "infograph", "quickdraw", "OOD mean", "Δ ID", "Δ OOD", "n",
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
        "82.0 ± 2.0", "72.0 ± 2.0", "62.0 ± 2.0", "52.0 ± 2.0", "42.0 ± 2.0", "32.0 ± 2.0", "52.0 ± 2.0", "—", "—", "3",
    ]  # fmt: skip
    assert rows["vanilla, lr 3e-4"][-3:] == ["−2.5", "−2.5", "2"]
    assert rows["DiGraP, ω = 1"] == ["—"] * 9 + ["0"]


def test_marks_of_runs_stand_under_the_table(demo, tmp_path):
    table, cells = demo
    write_run(cells["DiGraP"][0], tmp_path, 81, caveats=["validation is in training"])
    assert "Beware: validation is in training." in render.notes(gather(table, tmp_path))


def test_one_run_has_no_spread(demo, tmp_path):
    table, cells = demo
    write_run(cells["DiGraP"][0], tmp_path, 81)
    rows = {row[0]: row[1:] for row in render.body(gather(table, tmp_path))}
    assert rows["DiGraP"][0] == "81.0" and rows["DiGraP"][-3:] == ["—", "—", "1"]


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
    assert len(lines) == 5 * 7
    (line,) = [line for line in lines if line["row"] == "zero-shot" and line["column"] == "OOD mean"]
    assert float(line["mean"]) == pytest.approx(41.0) and line["n"] == "3" and line["kind"] == "mean"
    assert float(line["delta"]) == pytest.approx(-11.0)
    assert [line["mean"] for line in lines if line["row"] == "DiGraP, ω = 1"] == [""] * 7


def test_other_seeds(outputs):
    scores = gather(spec.load_table("demo", [0, 1]), outputs)
    assert scores.cell("vanilla, lr 1e-3", "real")[0] == 81.0
    assert "n runs; seeds 0, 1; a seed draws its own pictures and order." in render.notes(scores)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "results.json is damaged"),
        ('{"schema": 7}', "has schema 7, this version reads 1"),
        ("[]", "schema None"),
        ('{"schema": 1, "scores": {}}', "is damaged .no hash, seed, metric"),
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


def test_every_shipped_table_composes(quick):
    names = [path.stem for path in (CONFIGS / "tables").glob("*.yaml")]
    assert "demo" in names
    for name in names:
        table = spec.load_table(name)
        rows = [row for row in table.rows.values() if row.start is None]
        folders = [table.cell(row.label, table.seeds[0], row.choices()[0]).folder() for row in rows]
        assert len(set(folders)) == len(folders), "two rows are one run"


def test_omega_over_training(demo, outputs, tmp_path):
    _, cells = demo
    histories = {row: [omega_history(cell.folder(outputs)) for cell in cells[row]] for row in cells}
    curve = figures._mean_over_seeds(histories["DiGraP"])
    assert list(curve.columns) == ["conv1.weight", "layer1.0.weight", "fc.weight"]
    assert curve["layer1.0.weight"].tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6])
    picture = Image.open(figures.save(figures.omega_over_training(histories, "t"), tmp_path / "omega.png"))
    assert picture.width > 600 and len(set(picture.convert("L").resize((60, 40)).tobytes())) > 10
    assert figures.omega_over_training({"zero-shot": histories["zero-shot"]}, "t") is None


def test_a_damaged_log_is_named(demo, outputs):
    _, cells = demo
    path = cells["DiGraP"][0].folder(outputs) / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DigrapError, match="metrics.jsonl, line 4, is damaged"):
        omega_history(path.parent)


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


def test_a_searched_table_to_the_letter(small_table):
    scores = gather(*small_table)
    assert render.header(scores)[6:10] == ["quickdraw", "near OOD", "far OOD", "OOD mean"]
    rows = list(render.body(scores))
    assert rows[0] == [
        "zero-shot", "51.0 ± 1.4", "41.0 ± 1.4", "31.0 ± 1.4", "21.0 ± 1.4", "11.0 ± 1.4", "1.0 ± 1.4",
        "31.0 ± 1.4", "6.0 ± 1.4", "21.0 ± 1.4", "−20.0", "−20.0", "2",
    ]  # fmt: skip
    assert rows[2] == ["vanilla, published", "82.0", *["—"] * 7, "40.0", "", "", ""]
    assert rows[3][1:10] == [f"{mean}.0 ± 1.4" for mean in (91, 81, 71, 61, 51, 41, 71, 46, 61)]
    assert [isinstance(cell, render.Bold) for cell in rows[3]] == [False, *[True] * 9, False, False, False]
    assert not any(isinstance(cell, render.Bold) for row in rows[:3] for cell in row)
    assert render.notes(scores) == [
        "Accuracy in %, mean ± sample standard deviation over n runs; seeds 100, 101; a seed draws its own pictures "
        "and order.",
        "Checkpoint: best ID validation. Hyper-parameters: best ID validation, on seed 100, for all seeds.",
        "Δ: mean difference to “vanilla”, seed by seed.",
        "Bold: the best of a column, where all its runs and the runner-up's are there and a paired bootstrap over "
        "seeds, and examples within each, puts it above the runner-up (one-sided p < 0.05, 10,000 draws).",
        "Chosen on ID validation: vanilla lr 0.001.",
        "Published: Table 1 of the paper, p. 7.",
        "Commit 0123456789; timm 1.0.31, torch 2.15.0; device cpu.",
    ]
    assert "**91.0 ± 1.4**" in render.markdown(scores) and r"\textbf{91.0 $\pm$ 1.4}" in render.latex(scores)
    lines = list(csv.DictReader(io.StringIO(render.as_csv(scores))))
    (line,) = [line for line in lines if (line["row"], line["column"]) == ("DiGraP", "real")]
    assert (line["delta"], line["bold"], line["published"]) == ("20.0", "1", "")
    # +1 for 20 of 100 examples, in both seeds: the standard error is √(.2 · .8 / 200) = 2.8 %, times 1.96.
    assert (line["delta_low"], line["delta_high"]) == ("14.500", "25.500")
    (line,) = [line for line in lines if (line["row"], line["column"]) == ("vanilla", "real")]
    assert (line["delta"], line["delta_low"], line["published"]) == ("0.0", "", "82.04")


def test_no_bold_without_every_run(small_table):
    table, outputs = small_table
    (table.cell("DiGraP", 101).folder(outputs) / "results.json").unlink()
    assert all(gather(table, outputs).best(column) is None for column in ("real", "OOD mean"))


def test_no_bold_for_an_incomplete_runner_up_but_for_the_third(small_table):
    table, outputs = small_table
    zero_shot = table.cell("zero-shot", 101).folder(outputs) / "results.json"
    zero_shot.unlink()
    assert gather(table, outputs).best("real") == "DiGraP"
    (table.cell("vanilla", 101, ("trainer.base.lr=1e-3",)).folder(outputs) / "results.json").unlink()
    assert gather(table, outputs).best("real") is None


def test_no_bold_within_chance(small_table):
    table, outputs = small_table
    for seed in table.seeds:
        write_run(table.cell("DiGraP", seed), outputs, 71 + (seed - 100) * 2)  # one example of 100 more
    scores = gather(table, outputs)
    assert scores.difference("DiGraP", "real")[0] == 1 and scores.best("real") is None
    assert 0.05 < scores.compare("DiGraP", "vanilla")["real"].p < 0.3


def test_a_cell_whose_winner_is_not_known_names_the_table(small_table):
    table, outputs = small_table
    (table.cell("vanilla", 100, ("trainer.base.lr=3e-4",)).folder(outputs) / "results.json").unlink()
    assert render.commands(gather(table, outputs)) == ["python train.py -m table=small"]
    other = spec.load_table("small", [100])
    assert render.commands(gather(other, outputs)) == ["python train.py -m table=small seed=100"]


def test_choices_that_differ_name_their_seeds(small_table):
    table, outputs = small_table
    table = dataclasses.replace(table, search=spec.Search(None, "one_std_error"))
    write_run(table.cell("vanilla", 101, ("trainer.base.lr=3e-4",)), outputs, 80, validation=58)
    notes = render.notes(gather(table, outputs))
    assert notes[1].endswith("within one standard error of the best ID validation, every seed by itself.")
    assert notes[4] == "Chosen on ID validation: vanilla lr 0.001 (seed 100), lr 0.0003 (seed 101)."


def test_dirty_runs_are_refused_by_name(small_table):
    table, outputs = small_table
    cell = table.cell("DiGraP", 101)
    folder = write_run(cell, outputs, 90, commit="fedcba98765", dirty=True)
    with pytest.raises(DigrapError) as error:
        gather(table, outputs)
    assert f"fedcba9876 with local changes: DiGraP, seed 101 ({folder.name})" in str(error.value)
    assert "vanilla" not in str(error.value) and "dirty=allow" in str(error.value)
    allowed = gather(table, outputs, dirty=True)
    assert "Commit 0123456789, fedcba9876 with local changes;" in render.markdown(allowed)
    write_run(cell, outputs, 90, commit="unknown", dirty=None)
    assert "Commit 0123456789, unknown;" in render.markdown(gather(table, outputs))


@pytest.mark.parametrize(("key", "value"), [("protocol", "cleaned"), ("scorer", "official"), ("metric", "vqa")])
def test_mixed_runs_are_refused_by_name(small_table, key, value):
    table, outputs = small_table
    folder = write_run(table.cell("DiGraP", 101), outputs, 90, **{key: value})
    with pytest.raises(DigrapError) as error:
        gather(table, outputs)
    assert f"mixed {key}" in str(error.value)
    assert f"\n  {value}: DiGraP, seed 101 ({folder.name})" in str(error.value)


def test_every_run_of_another_schema_is_named(small_table):
    table, outputs = small_table
    for seed in table.seeds:
        write_run(table.cell("DiGraP", seed), outputs, 90, schema=2)
    with pytest.raises(DigrapError) as error:
        gather(table, outputs)
    assert all(table.cell("DiGraP", seed).place in str(error.value) for seed in table.seeds)


def test_protocol_and_scorer_are_in_the_provenance(small_table):
    table, outputs = small_table
    for row, seed, chosen in [("zero-shot", 100, ()), ("vanilla", 100, ("trainer.base.lr=1e-3",)), ("DiGraP", 100, ())]:
        write_run(table.cell(row, seed, chosen), outputs, 50, validation=60, protocol="cleaned", scorer="official")
    notes = render.notes(gather(dataclasses.replace(table, seeds=(100,)), outputs))
    assert notes[-1] == "Commit 0123456789; timm 1.0.31, torch 2.15.0; device cpu; protocol cleaned; scorer official."


def test_predictions_that_give_another_score_are_named(small_table):
    table, outputs = small_table
    folder = table.cell("DiGraP", 100).folder(outputs)
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text.replace("70.0", "70.1"))
    with pytest.raises(DigrapError, match=r"DiGraP, seed 100, split sketch: .* give 70.0 % of 100, .* says 70.1 %"):
        render.markdown(gather(table, outputs))
    (folder / "predictions.npz").unlink()
    with pytest.raises(DigrapError, match=r"predictions.npz: the predictions cannot be read"):
        render.markdown(gather(table, outputs))


def test_an_unknown_target_column_is_named(small_table):
    table = dataclasses.replace(small_table[0], targets={"vanilla": {"OOD": 1.0}})
    with pytest.raises(DigrapError, match="'OOD' is no column; nearest: "):
        gather(table, small_table[1])


def test_many_rows_have_their_legend_beside(small_table):
    table, outputs = small_table
    few = gather(table, outputs)
    table = dataclasses.replace(table, rows=table.rows | {str(k): spec.Row(str(k), (), {}) for k in range(9)})
    many = dataclasses.replace(few, source=dataclasses.replace(few.source, table=table))
    widths = [figures.id_against_ood(scores).get_size_inches()[0] for scores in (few, many)]
    assert widths[1] > widths[0]
