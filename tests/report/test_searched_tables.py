"""A table with a search, near and far OOD and targets, to the letter; runs that belong in no one table are refused."""

import csv
import dataclasses
import io
import sys

import pytest

from digrap.core.errors import DigrapError
from digrap.report import render
from digrap.report.scores import gather
from digrap.tables import spec
from tests.synthetic_runs import script, write_run


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
        "At the edge of its grid, beyond which a better value may lie: vanilla lr 0.001 (highest of 2).",
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
    assert all(gather(table, outputs).best(column) == [] for column in ("real", "OOD mean"))


def test_no_bold_for_an_incomplete_runner_up_but_for_the_third(small_table):
    table, outputs = small_table
    zero_shot = table.cell("zero-shot", 101).folder(outputs) / "results.json"
    zero_shot.unlink()
    assert gather(table, outputs).best("real") == ["DiGraP"]
    (table.cell("vanilla", 101, ("trainer.base.lr=1e-3",)).folder(outputs) / "results.json").unlink()
    assert gather(table, outputs).best("real") == []


def test_no_bold_within_chance(small_table):
    table, outputs = small_table
    for seed in table.seeds:
        write_run(table.cell("DiGraP", seed), outputs, 71 + (seed - 100) * 2)  # one example of 100 more
    scores = gather(table, outputs)
    assert scores.difference("DiGraP", "real")[0] == 1 and scores.best("real") == []
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


@pytest.mark.parametrize(("key", "value"), [("protocol", "cleaned"), ("metric", "vqa")])
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


def test_the_protocol_is_in_the_provenance(small_table):
    table, outputs = small_table
    for row, seed, chosen in [("zero-shot", 100, ()), ("vanilla", 100, ("trainer.base.lr=1e-3",)), ("DiGraP", 100, ())]:
        write_run(table.cell(row, seed, chosen), outputs, 50, validation=60, protocol="cleaned")
    write_run(table.cell("vanilla", 100, ("trainer.base.lr=3e-4",)), outputs, 99, validation=40, protocol="cleaned")
    notes = render.notes(gather(dataclasses.replace(table, seeds=(100,)), outputs))
    assert notes[-1] == "Commit 0123456789; timm 1.0.31, torch 2.15.0; device cpu; protocol cleaned."


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


def test_options_of_the_sweep_tell_which_runs_are_the_tables(small_table, tmp_path, monkeypatch, capsys):
    """With weights in a folder of one's own every run has another hash: the same option finds them."""
    _, outputs = small_table
    option = "backbone.pretrained=false"
    table = spec.load_table("small", extra=(option,))
    for seed in table.seeds:
        write_run(table.cell("DiGraP", seed), outputs, 42)
    arguments = ["table=small", option, f"outputs={outputs}", f"out={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["make_tables.py", *arguments])
    script("make_tables").main()
    printed = capsys.readouterr().out
    assert "42.0 ± 0.0" in printed and f"python train.py -m table=small {option}" in printed
    monkeypatch.setattr(sys, "argv", ["make_tables.py", *arguments, f"publish={tmp_path / 'results'}"])
    with pytest.raises(DigrapError, match=f"table=small {option}: a published table must match its yaml"):
        script("make_tables").main()
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(sys, "argv", ["status.py", "table=small", option, f"outputs={outputs}"])
    script("status").main()
    assert "2 done" in capsys.readouterr().out
