"""A table names its columns: titles, order, means between the splits; in every form, in pictures, when published."""

import csv
import io
import json

import pytest

from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.report import figures, render
from digrap.report.publish import publish
from digrap.report.scores import gather
from digrap.report.verify import verify_table
from digrap.tables import spec
from digrap.tables.spec import load_table
from tests.synthetic_runs import SMALL, script

COLUMNS = "columns: {ID: real, Cl.: clipart, near: near OOD, Info.: infograph, far: far OOD}\n"
TITLES = ["ID", "Cl.", "near", "Info.", "far"]


@pytest.fixture
def named(small_table):
    """The small table with columns of its own (its published numbers name those of before)."""

    def make(columns=COLUMNS):
        text = "\n".join(line for line in SMALL.splitlines() if not line.startswith("targets"))
        write_text(spec.CONFIGS / "tables" / "small.yaml", f"{text}\n{columns}")
        return load_table("small"), small_table[1]

    return make


def as_rows(scores):
    """The csv's numbers by row and column."""
    lines = csv.DictReader(io.StringIO(render.as_csv(scores)))
    return {(line["row"], line["column"]): (line["kind"], line["mean"], line["delta"]) for line in lines}


def test_titles_and_order_are_the_tables_and_numbers_stay(small_table, named):
    before, after = gather(*small_table), gather(*named())
    assert render.header(after) == ["", *TITLES, "Δ ID", "Δ OOD", "n"]
    assert render.header(before)[1:3] == ["real (ID)", "clipart"]
    old, new = as_rows(before), as_rows(after)
    names = {**after.table.columns, "OOD mean": "OOD mean"}  # Δ OOD is of this one
    assert {column for _, column in new} == set(names)
    assert all(new[row, column] == old[row, names[column]] for row, column in new)
    cells = [(dict(zip(render.header(s), row, strict=True))) for s in (before, after) for row in render.body(s)]
    (old,), (new,) = ([row for row in cells if row[""] == "DiGraP" and title in row] for title in ("real (ID)", "ID"))
    assert [new[title] for title in ("ID", "near", "Δ ID", "Δ OOD")] == [
        old[title] for title in ("real (ID)", "near OOD", "Δ ID", "Δ OOD")
    ]
    assert "Columns: ID: real; Cl.: clipart; near: near OOD; Info.: infograph; far: far OOD." in render.notes(after)
    assert "& ID & Cl. & near & Info. & far &" in render.latex(after)
    assert "|  | ID | Cl. | near | Info. | far | Δ ID |" in render.markdown(after)


def test_the_picture_is_the_same(small_table, named):
    before, after = (figures.id_against_ood(gather(*made)) for made in (small_table, named()))
    assert figures.as_png(before) == figures.as_png(after)


def test_the_means_that_are_compared_may_have_titles_too(named):
    scores = gather(*named("columns: {all: OOD mean, ID: real}\n"))
    assert render.header(scores) == ["", "all", "ID", "Δ ID", "Δ OOD", "n"]
    assert list(scores.columns) == ["all", "ID"] and (scores.identity, scores.ood_mean) == ("ID", "all")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("{ID: reel}", "table=small: columns.ID: no split or mean 'reel'; nearest: real"),
        ("{clipart: sketch}", "columns.clipart: that is a column's own name; choose another title"),
        ("[real]", "small.yaml: columns must be a mapping from a column's title to what it shows"),
    ],
)
def test_bad_columns_end_in_one_message(named, columns, message):
    with pytest.raises(DigrapError, match=message):
        gather(*named(f"columns: {columns}\n"))


def test_it_is_published_and_verified(named, tmp_path):
    table, outputs = named()
    place, _ = publish(gather(table, outputs), {}, tmp_path / "results")
    assert verify_table(place).differences == []
    assert json.loads((place / "manifest.json").read_text())["spec"]["columns"] == table.columns
    write_text(spec.CONFIGS / "tables" / "small.yaml", SMALL + COLUMNS.replace("Cl.", "Clip."))
    assert "has changed since the table was published" in "".join(verify_table(place).differences)


def test_a_wide_table_fits_the_page_and_a_file_keeps_its_lines(named, monkeypatch, capsys, tmp_path):
    plain, outputs = named()
    assert "resizebox" not in render.latex(gather(plain, outputs))
    table, _ = named(COLUMNS[:-2] + "".join(f", a rather long title {k}: sketch" for k in range(9)) + "}\n")
    text = render.latex(gather(table, outputs))
    assert r"\resizebox{\textwidth}{!}{%" in text and r"\end{tabular}}" in text and "booktabs,graphicx" in text
    script("make_tables").show(gather(table, outputs))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "DiGraP" in line and "│" in line]
    assert line.count("±") == 14
