"""A table in blocks: every row in each, compared, chosen and marked within its own."""

import pytest

from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.report import figures, render
from digrap.report.publish import publish
from digrap.report.scores import gather
from digrap.report.verify import verify_table
from digrap.tables import spec
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import load_table
from digrap.tables.winners import write_winners
from tests.synthetic_runs import SMALL, write_run

PLAIN = "\n".join(line for line in SMALL.splitlines() if not line.startswith("targets")) + "\n"
BLOCKS = "blocks: {short: [dataset.splits.real_train.size=450], long: [dataset.splits.real_train.size=900]}\n"
WISE = "  WiSE-FT: {overrides: [optim=wise_ft], start: vanilla}\n"


def write(text, name="small"):
    write_text(spec.CONFIGS / "tables" / f"{name}.yaml", text)
    return load_table(name)


@pytest.fixture
def blocks(small_table, tmp_path):
    """The small table in two blocks, each complete: DiGraP is 3 points better than vanilla in the first, 20 in the
    second, and the two have protocols and caveats of their own."""
    table, outputs = write(PLAIN + BLOCKS), tmp_path / "blocks"
    for seed in table.seeds:
        for block, ood, change in (("short", 50, {"protocol": "paper", "caveats": ["leaky"]}), ("long", 60, {})):
            change = {"protocol": "clean"} | change
            write_run(table.cell(f"zero-shot ({block})", seed), outputs, ood, **change)
            for choice in table.rows[f"vanilla ({block})"].choices():
                write_run(table.cell(f"vanilla ({block})", seed, choice), outputs, ood + 5, **change)
            better = 3 if block == "short" else 20
            write_run(table.cell(f"DiGraP ({block})", seed), outputs, ood + 5 + better, **change)
    return table, outputs


def test_every_row_is_in_every_block_with_its_overrides_first(small_table):
    table = write(PLAIN + WISE + BLOCKS)
    assert list(table.rows) == [
        f"{row} ({block})" for block in ("short", "long") for row in ("zero-shot", "vanilla", "DiGraP", "WiSE-FT")
    ]
    assert table.rows["vanilla (long)"].overrides == ("dataset.splits.real_train.size=900", "optim=vanilla")
    assert table.rows["WiSE-FT (long)"].start == "vanilla (long)"
    assert table.baseline_of("DiGraP (long)") == "vanilla (long)"


def test_a_row_that_chooses_a_group_anew_takes_no_options_of_the_blocks(small_table):
    text = PLAIN.replace("DiGraP: [optim=digrap]", "DiGraP: [optim=digrap, peft=none]")
    table = write(text + "blocks: {rank 4: [peft=lora, peft.r=4, trainer.epochs=3]}\n")
    assert table.rows["zero-shot (rank 4)"].overrides == (
        "peft=lora",
        "peft.r=4",
        "trainer.epochs=3",
        "optim=zero_shot",
    )
    assert table.rows["DiGraP (rank 4)"].overrides == ("trainer.epochs=3", "optim=digrap", "peft=none")


def test_a_run_is_initialised_from_its_own_blocks_run(small_table):
    table = write(PLAIN.replace(", grid: {trainer.base.lr: [3e-4, 1e-3]}", "") + WISE + BLOCKS)
    plan = Plan(table, spec.CONFIGS)
    for block in ("short", "long"):
        wise, vanilla = (plan.final(table.rows[f"{row} ({block})"], 100) for row in ("WiSE-FT", "vanilla"))
        assert wise.start_place == vanilla.place


def test_rows_are_compared_within_their_block(blocks):
    scores = gather(*blocks)
    assert scores.difference("DiGraP (short)", "real")[0] == 3
    assert scores.difference("DiGraP (long)", "real")[0] == 20
    assert scores.best("real") == ["DiGraP (short)", "DiGraP (long)"]
    rows = {row[0]: row for row in render.body(scores)}
    titles = render.header(scores)
    assert (
        rows["vanilla (long)"][titles.index("Δ ID")] == "—" and rows["DiGraP (long)"][titles.index("Δ ID")] == "+20.0"
    )
    notes = render.notes(scores)
    assert "Caveat (short): leaky." in notes and any("protocol clean, paper." in line for line in notes)
    assert "Δ: mean difference to “vanilla” of the same block, seed by seed." in notes


def test_protocols_are_not_mixed_within_a_block(blocks):
    table, outputs = blocks
    write_run(table.cell("DiGraP (short)", 100), outputs, 58, protocol="clean")
    with pytest.raises(DigrapError, match=r"mixed protocol: .*\n  clean: DiGraP \(short\), seed 100"):
        gather(table, outputs)


def test_winners_have_a_file_each_and_the_table_is_published(blocks, tmp_path):
    table, outputs = blocks
    names = {path.name for path in write_winners(Plan(table, outputs), spec.CONFIGS)}
    assert {"vanilla_short.yaml", "vanilla_long.yaml"} <= names
    scores = gather(table, outputs)
    assert len(figures.id_against_ood(scores).axes) == 2
    place, _ = publish(scores, {}, tmp_path / "results")
    assert verify_table(place).differences == []


GROUPS = """groups:
  long:
    overrides: [dataset.splits.real_train.size=900]
    rows: {vanilla: [optim=vanilla], WiSE-FT: {overrides: [optim=wise_ft], start: vanilla}}
"""


def test_a_group_is_a_block_with_rows_of_its_own(small_table):
    plain, table = load_table("small"), write(PLAIN + GROUPS)
    assert list(table.rows) == [*plain.rows, "vanilla (long)", "WiSE-FT (long)"]
    assert {label: table.rows[label] for label in plain.rows} == plain.rows, "the runs of the others stay what they are"
    assert table.rows["vanilla (long)"].overrides == ("dataset.splits.real_train.size=900", "optim=vanilla")
    assert table.rows["WiSE-FT (long)"].start == "vanilla (long)" == table.baseline_of("WiSE-FT (long)")
    assert (
        table.beside("vanilla (long)") == ["vanilla (long)", "WiSE-FT (long)"]
        and table.baseline_of("DiGraP") == "vanilla"
    )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("[a]", "groups must be a mapping from a group's title to its overrides and rows"),
        ("{long: [optim=vanilla]}", "groups.long.rows must be a dict that is not empty"),
        ("{long: {row: {}, rows: {vanilla: [optim=vanilla]}}}", "unknown key 'groups.long.row'; nearest: rows"),
        ("{long: {rows: {DiGraP: [optim=digrap]}}}", "groups.long.rows: the baseline 'vanilla' is missing"),
        ("{long: {rows: {vanilla: {grids: 1}}}}", "unknown key 'groups.long.rows.vanilla.grids'; nearest: grid"),
        ("{long: {rows: {vanilla: {start: LP}}}}", "groups.long.rows.vanilla.start: 'LP' is no row"),
        ("{short: {rows: {vanilla: []}}}\n" + BLOCKS, "groups.short: a block has that title; choose another"),
    ],
)
def test_a_bad_group_is_named(small_table, groups, message):
    with pytest.raises(DigrapError, match=message):
        write(PLAIN + f"groups: {groups}\n")


def test_blocks_that_are_no_mapping_end_in_one_message(small_table):
    with pytest.raises(DigrapError, match=r"blocks must be a mapping from a block's title to its overrides"):
        write(PLAIN + "blocks: [a]\n")
