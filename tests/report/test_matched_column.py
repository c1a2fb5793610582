"""The column of OOD accuracy at matched ID accuracy, against a slow, obvious version and arithmetic by hand."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.report import figures, matched_column, render
from digrap.report.matched_id import front, gains_over_front
from digrap.report.paired import resampled
from digrap.report.publish import from_published, publish
from digrap.report.scores import gather, tally
from digrap.report.verify import verify_table
from digrap.tables import spec
from digrap.tables.spec import load_table
from tests.reference import matched as slow
from tests.synthetic_runs import SMALL, answers, write_bundle, write_run

RATES = {"3e-4": ("trainer.base.lr=3e-4",), "1e-3": ("trainer.base.lr=1e-3",)}


@pytest.fixture
def made(tmp_path, monkeypatch, quick):
    """A table that asks for the column. Vanilla: ID 70 and OOD 60 with the lower rate, 80 and 40 with the higher one,
    the winner, in both seeds; DiGraP 5 points above the line between."""
    monkeypatch.setattr(spec, "CONFIGS", tmp_path / "configs")
    text = SMALL.replace("title:", "matched: true\ntitle:").replace("targets:", "# ")
    write_text(tmp_path / "configs" / "tables" / "small.yaml", text)
    table, outputs = load_table("small"), tmp_path / "outputs"
    for seed, more in ((100, -1), (101, 1)):
        write_run(table.cell("zero-shot", seed), outputs, 50, ood=92)
        write_run(table.cell("vanilla", seed, RATES["3e-4"]), outputs, 70 + more, ood=90, validation=40)
        write_run(table.cell("vanilla", seed, RATES["1e-3"]), outputs, 80 + more, ood=70, validation=60)
        write_run(table.cell("DiGraP", seed), outputs, 75 + more, ood=85)
    return table, outputs


def column(scores):
    place = render.header(scores).index(matched_column.TITLE)
    return {row[0]: row[place] for row in render.body(scores)}


def test_the_column_by_hand(made):
    scores = gather(*made)
    assert render.header(scores)[-3:] == ["Δ OOD", "OOD at matched ID", "n"]
    found = scores.matched["DiGraP"]
    assert (found.identity, found.reference, found.gain) == pytest.approx((75, 50, 5)) and found.seeds == (100, 101)
    assert found.low < 5 < found.high
    texts = column(scores)
    assert texts["DiGraP"].startswith("+5.0 [") and texts["vanilla"] == texts["zero-shot"] == "—"
    (note,) = [line for line in render.notes(scores) if line.startswith("Vanilla's learning rates")]
    assert note == (
        "Vanilla's learning rates: 0.0003, 0.001 on seeds 100, 101, with ID accuracies from 70.0 to 80.0; "
        "beyond these, and so without a number: zero-shot (50.0)."
    )
    lines = list(csv.DictReader(io.StringIO(render.as_csv(scores))))
    of = {line["row"]: line for line in lines if line["column"] == "OOD at matched ID"}
    assert float(of["DiGraP"]["mean"]) == pytest.approx(50) and float(of["DiGraP"]["delta"]) == pytest.approx(5)
    assert (of["DiGraP"]["kind"], of["DiGraP"]["n"]) == ("matched", "2")
    assert (of["zero-shot"]["mean"], of["zero-shot"]["delta"], of["zero-shot"]["n"]) == ("", "", "0")


def test_without_the_key_nothing_of_it_is_there(made):
    table, outputs = made
    scores = gather(replace(table, matched=False), outputs)
    assert not scores.source.rates
    assert "matched" not in "".join(render.files(scores).values())


def test_only_seeds_with_several_rates_count(made):
    """The usual search: the losers ran on one seed."""
    table, outputs = made
    (table.cell("vanilla", 101, RATES["3e-4"]).folder(outputs) / "results.json").unlink()
    scores = gather(table, outputs)
    found = scores.matched["DiGraP"]
    assert found.seeds == (100,) and found.gain == pytest.approx(5) and found.identity == 74
    assert any("on seed 100, with ID accuracies from 69.0 to 79.0" in line for line in render.notes(scores))


def test_one_rate_and_rates_that_one_beats_give_no_number(made):
    table, outputs = made
    for seed in table.seeds:
        write_run(table.cell("vanilla", seed, RATES["3e-4"]), outputs, 70, ood=60, validation=40)
    scores = gather(table, outputs)
    assert set(column(scores).values()) == {"—"}
    assert any("one is best in ID and OOD accuracy" in line for line in render.notes(scores))
    one = replace(table.rows["vanilla"], grid={"trainer.base.lr": ("1e-3",)})
    scores = gather(replace(table, rows=table.rows | {"vanilla": one}), outputs)
    assert set(column(scores).values()) == {"—"}
    assert any("1e-3 on seeds 100, 101; two are needed" in line for line in render.notes(scores))


def test_a_rate_that_diverged_is_no_part_of_the_line_nor_of_the_picture(made):
    table, outputs = made
    grid = {"trainer.base.lr": ("3e-4", "1e-3", "1e-2")}
    table = replace(table, rows=table.rows | {"vanilla": replace(table.rows["vanilla"], grid=grid)})
    for seed in table.seeds:
        write_run(table.cell("vanilla", seed, ("trainer.base.lr=1e-2",)), outputs, 6, ood=55, validation=1)
    scores = gather(table, outputs)
    assert scores.matched["DiGraP"].gain == pytest.approx(5)
    assert any(
        "3e-4, 1e-3 on seeds 100, 101 (not 1e-2: another one is better on both), with ID accuracies from 70.0 to 80.0"
        in line for line in render.notes(scores)
    )  # fmt: skip
    texts = {text.get_text() for text in figures.id_against_ood(scores).axes[0].texts}
    assert "lr 3e-4" in texts and "lr 1e-2" not in texts


def test_a_table_without_vanilla_says_so(made):
    table, outputs = made
    scores = gather(replace(table, baseline=None), outputs)
    assert any("none has run; two are needed" in line for line in render.notes(scores))


def test_rows_that_differ_in_the_rate_alone_make_the_line(demo, tmp_path):
    table, cells = demo
    for row, identity, ood in (("vanilla, lr 1e-3", 80, 70), ("vanilla, lr 3e-4", 70, 90), ("DiGraP", 75, 78)):
        write_run(cells[row][0], tmp_path, identity, ood=ood)
    scores = gather(replace(table, matched=True), tmp_path)
    assert scores.matched["DiGraP"].gain == pytest.approx(-2)
    texts = column(scores)
    assert texts["vanilla, lr 1e-3"] == texts["vanilla, lr 3e-4"] == texts["zero-shot"] == "—"


def test_runs_tested_on_other_examples_are_refused(made):
    table, outputs = made
    folder = table.cell("vanilla", 100, RATES["3e-4"]).folder(outputs)
    run = gather(table, outputs).source.rates[0]
    labels = {split: {"label": np.zeros(100, int)} for split in run.bundle.splits}
    right = {split: round(run.results.scores[split]["accuracy"]) for split in labels}
    write_bundle(folder / "predictions.npz", answers(right, labels), labels)
    with pytest.raises(DigrapError, match="different labels or ids; they cannot be compared"):
        render.markdown(gather(table, outputs))


def test_a_published_table_gives_the_same_numbers_from_its_folder_alone(made, tmp_path):
    scores = gather(*made)
    place, _ = publish(scores, {}, tmp_path / "results")
    assert len(scores.source.rates) == 2 and len(list(place.glob("runs/*.json"))) == 8
    checked = verify_table(place)
    assert checked.differences == [] and checked.runs == 8
    again = tally(from_published(place))
    assert column(again) == column(scores) and again.matched == scores.matched
    (place / "runs" / f"{scores.source.rates[0].results.hash}.npz").unlink()
    assert any("is missing" in line for line in verify_table(place).differences)


POINT = st.tuples(st.integers(0, 20).map(float), st.integers(0, 20).map(float))


@settings(max_examples=150, deadline=None)
@given(st.lists(POINT, min_size=1, max_size=6), POINT)
def test_the_line_is_the_slow_one(points, row):
    (found,), (outside,) = (values[:, 0] for values in gains_over_front(np.array([[*points, row]]), len(points)))
    assert found == pytest.approx(slow.gain(points, row), abs=1e-9)
    kept = front(*np.array(points).T)
    assert list(zip(*kept, strict=True)) == slow.line(points)
    assert (outside or len(kept[0]) < 2) == slow.beyond(points, row)


@settings(max_examples=60, deadline=None)
@given(st.lists(POINT, min_size=1, max_size=6), POINT, st.floats(0, 5))
def test_more_ood_is_so_much_more_gain_and_more_rates_never_add(points, row, more):
    def gain(points, row):
        return gains_over_front(np.array([[*points, row]]), len(points))[0][0, 0]

    higher = gain(points, (row[0], row[1] + more))
    assert higher == pytest.approx(gain(points, row) + more)
    assert gain([*points, row], row) <= 1e-9  # a rate like the row itself: nothing is gained


def some(seeds, n, shared):
    """Answers of three runs on an ID and two OOD splits, alike enough that pairing matters."""
    random = np.random.RandomState(1)
    rates = np.array([[0.6, 0.8, 0.7], [0.5, 0.3, 0.5]])  # ID and OOD; two rates and a row a bit above their line
    result = []
    for seed in range(seeds):
        hard = [np.random.RandomState(7 + split if shared else 7 + 10 * seed + split).rand(n) for split in range(3)]
        result.append([
            np.stack([0.7 * hard[split] + 0.3 * random.rand(n) < rates[min(split, 1), run] for run in range(3)], axis=1)
            for split in range(3)
        ])  # fmt: skip
    return [[split.astype(float) for split in seed] for seed in result]


@pytest.mark.parametrize("shared", [False, True])
def test_the_interval_is_the_slow_one(shared):
    found = some(2, 40, shared)
    means = 100 * resampled(found, shared, draws=4000)
    points = np.stack([means[:, 0], means[:, 1:].mean(axis=1)], axis=-1)
    fast = gains_over_front(points, 2)[0][:, 0]
    plain = [[split.T.tolist() for split in seed] for seed in found]
    other = np.array(slow.gains_drawn(plain, shared, 1500))
    assert fast.mean() == pytest.approx(other.mean(), abs=4 * fast.std() * (1 / 1500 + 1 / 4000) ** 0.5)
    assert fast.std() == pytest.approx(other.std(), rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=3, max_size=3), min_size=1, max_size=12),
       st.booleans())  # fmt: skip
def test_runs_are_resampled_together(scores, shared):
    first = np.array(scores)
    twice = np.concatenate([first, first[:, :1]], axis=1)
    drawn = resampled([[twice], [twice]], shared, draws=40)
    assert drawn.shape == (40, 1, 4) and np.array_equal(drawn[..., 0], drawn[..., 3])
    assert first.min() - 1e-9 <= drawn.min() and drawn.max() <= first.max() + 1e-9
    alone = resampled([[first[:, 1:2]]] * 2, shared, draws=40)  # what else is in the table changes nothing
    assert np.array_equal(alone, drawn[..., 1:2])


def test_the_draws_are_the_same_every_time(monkeypatch):
    """RandomState's stream is frozen: these numbers hold for every NumPy, so that published tables stay as they are."""
    found = some(2, 30, shared=False)
    whole = resampled(found, draws=50)
    monkeypatch.setattr("digrap.report.paired.CELLS", 100)  # drawn in parts
    assert np.array_equal(resampled(found, draws=50), whole)
    own, shared = resampled(found, draws=3)[:2, 0], resampled(found, True, draws=2)[0, 1]
    assert np.round(60 * own, 9).tolist() == [[43, 57, 52], [35, 58, 50]]
    assert np.round(60 * shared, 9).tolist() == [26, 12, 36]


def test_the_picture_names_the_rates_that_no_row_prints(made):
    table, outputs = made
    axes = figures.id_against_ood(gather(table, outputs)).axes[0]
    assert "lr 0.0003" in {text.get_text() for text in axes.texts}
    (line,) = [line for line in axes.lines if line.get_gid() == "front"]
    assert line.get_xydata().tolist() == [[70, 60], [80, 40]]
    plain = figures.id_against_ood(gather(replace(table, matched=False), outputs)).axes[0]
    assert "lr 0.0003" not in {text.get_text() for text in plain.texts}
