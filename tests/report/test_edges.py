"""Winners at the edge of their grid."""

import sys
from dataclasses import replace

import pytest

from digrap.report import edges, render
from digrap.report.publish import MANIFEST, from_published, publish
from digrap.report.scores import gather, tally
from digrap.report.verify import verify_table
from digrap.tables.spec import Row, load_table
from tests.synthetic_runs import script, write_run


def winner(small_table, key, values, chosen):
    """The edges of the small table when DiGraP's grid has the values and the search chose one."""
    table, outputs = small_table
    grid = {key: tuple(values)}
    table = replace(table, rows={"DiGraP": Row("DiGraP", ("optim=digrap",), grid)}, baseline=None, targets={})
    for value in values:
        for seed in table.seeds:
            write_run(
                table.cell("DiGraP", seed, (f"{key}={value}",)), outputs, 60, validation=70 if value == chosen else 50
            )
    return edges.edges(gather(table, outputs))


@pytest.mark.parametrize(
    ("key", "values", "chosen", "side", "beyond"),
    [
        ("optim.mu", ["0.1", "0.5", "1"], "1", "highest", "2"),
        ("optim.mu", ["0.1", "0.5", "1"], "0.1", "lowest", "0.02"),
        ("optim.mu", ["1", "0.5", "0.1"], "0.1", "lowest", "0.02"),
        ("optim.mu", ["0", "0.5"], "0.5", "highest", "1"),
        ("optim.mu", ["0.1", "0.5", "1"], "0.5", None, None),  # inside
        ("optim.mu", ["0", "0.5"], "0", None, None),  # nothing lies below 0
        ("optim.omega", ["0.5", "1"], "1", None, None),  # nor above 1
        ("optim.mu", ["0.5"], "0.5", None, None),  # nothing was searched
        ("optim.rule", ["conflict", "listing"], "conflict", None, None),  # no numbers
    ],
)  # fmt: skip
def test_edges(small_table, key, values, chosen, side, beyond):
    found = winner(small_table, key, values, chosen)
    assert [(edge.key, edge.value, edge.side, edge.beyond) for edge in found] == (
        [(key, chosen, side, beyond)] if side else []
    )


def test_the_warning_names_what_to_widen_and_its_command_works(small_table, tmp_path, monkeypatch, capsys):
    table, outputs = small_table
    words = ["table=small", f"outputs={outputs}", f"out={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["make_tables.py", *words])
    script("make_tables").main()
    said = capsys.readouterr().err
    assert "configs/tables/small.yaml, then python train.py -m table=small:" in said
    assert "    rows.vanilla.grid.trainer.base.lr: add 0.00333 (0.001 is the highest)\n" in said
    file = tmp_path / "configs" / "tables" / "small.yaml"
    file.write_text(file.read_text().replace("[3e-4, 1e-3]", "[3e-4, 1e-3, 0.00333]"))
    wider = load_table("small")
    write_run(wider.cell("vanilla", 100, ("trainer.base.lr=0.00333",)), outputs, 70, validation=55)
    assert edges.warning(gather(wider, outputs)) is None


def test_a_label_in_a_block_is_named_as_in_the_file():
    row = Row("vanilla (paper)", (), {"optim.mu": ("1", "2")}, block="paper")
    assert row.own_label == "vanilla" and Row("LP (old)", (), {}).own_label == "LP (old)"


def test_tables_published_before_stay_as_they_were(small_table, tmp_path):
    scores = gather(*small_table)
    place, _ = publish(scores, {}, tmp_path / "results")
    assert "At the edge of its grid" in (place / "small.md").read_text()
    old = replace(scores, source=replace(scores.source, explained=False))
    publish(old, {}, tmp_path / "results")
    text = (place / MANIFEST).read_text()
    (place / MANIFEST).write_text(text.replace(' "explained": false,\n', "").replace(' "rates": [],\n', ""))
    assert '"explained"' not in (place / MANIFEST).read_text()
    assert verify_table(place).differences == []
    assert not any("edge" in line for line in render.notes(tally(from_published(place))))
