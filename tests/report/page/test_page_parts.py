"""Parts of the page: layers, µ, examples, colours, words."""

from dataclasses import replace

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.report import figures
from digrap.report.marks import COLOURS, colours, spread
from digrap.report.page import charts
from digrap.report.page.found import finished, mu_grid, wanted
from digrap.report.page.gallery import Example, errors, shifts, telling
from digrap.report.page.runs import losses_of
from digrap.report.page.verdict import verdict
from digrap.report.scores import gather, tally
from digrap.runs.history import History
from digrap.tables.spec import Row
from tests.report.page.pages import write_config
from tests.synthetic_runs import write_run


@pytest.mark.parametrize("count", [1, len(COLOURS), 30])
def test_no_colour_twice(count):
    assert len(set(colours(count))) == count


def test_labels_keep_their_distance_and_order():
    wanted_places = [0.5, 0.51, 0.99, 1.0, 0.5]
    places = spread(wanted_places, 0.1)
    assert np.diff(np.sort(places)).min() > 0.0999 and places.max() <= 1
    assert places[0] < places[4] < places[1] < places[2] < places[3]


METHODS = {"zero-shot": "zero_shot", "vanilla": "vanilla", "DiGraP": "digrap"}


@pytest.fixture
def scores(small_table):
    """The small table's, whose runs know their methods."""
    found = gather(*small_table)
    known = [replace(run, results=replace(run.results, method=METHODS[run.row])) for run in found.runs]
    return replace(found, source=replace(found.source, runs=known))


def test_every_row_is_labelled_beside_the_points(scores):
    axes = figures.id_against_ood(scores).axes[0]
    assert {text.get_text() for text in axes.texts} >= {"zero-shot", "vanilla", "DiGraP"}
    assert axes.get_legend() is None
    (front,) = [line for line in axes.lines if line.get_gid() == "front"]
    assert front.get_xdata().tolist() == [71.0]  # vanilla is better on both than zero-shot


def test_the_front_is_named_where_it_is_seen(scores):
    """Zero-shot and vanilla's one rate, of which one is better on both, make no line."""
    figure = figures.id_against_ood(scores)
    assert not figures.has_front(figure) and not figures.has_front(None)
    (front,) = [line for line in figure.axes[0].lines if line.get_gid() == "front"]
    front.set_data([1, 2], [2, 1])
    assert figures.has_front(figure)


def test_a_loss_curve_is_of_equal_parts():
    """Parts of 50 and 12 steps an epoch: means of epochs; of a single epoch, of 50 steps each."""
    steps, epochs = (50, 62, 100, 124), (50 / 62, 1.0, 100 / 62, 2.0)
    parts = [{"step": step, "epoch": epoch, "loss": step} for step, epoch in zip(steps, epochs, strict=True)]
    points, kind = losses_of(parts)
    means = ((50 * 50 + 12 * 62) / 62, (38 * 100 + 24 * 124) / 62)
    assert kind == "mean of an epoch" and points == [(1.0, pytest.approx(means[0])), (2.0, pytest.approx(means[1]))]
    assert losses_of(parts[:2]) == ([(1.0, pytest.approx(means[0]))], kind)
    one = [{"step": step, "epoch": step / 112, "loss": 1.0} for step in (50, 100, 112)]
    assert losses_of(one) == ([(50 / 112, 1.0), (100 / 112, 1.0)], "mean of 50 steps")
    assert losses_of([]) == ([], kind)


def test_the_curve_of_averages_ends_at_the_two_models(small_table, scores):
    """(1 − a) θ0 + a θ: zero-shot at a = 0, the row whose runs it is initialised from at a = 1."""
    starts = {run.seed: {"method": "vanilla", "hash": run.results.hash} for run in scores.runs if run.row == "vanilla"}

    def averaging(run):
        if run.row != "DiGraP":
            return run
        tested = {split: {"kind": kind, "accuracy": 50.0} for split, kind in scores.source.splits.items()}
        variants = {a: {s: {**t, "accuracy": 50.0 + 10 * float(a)} for s, t in tested.items()} for a in ("0.25", "0.5")}
        changes = {"method": "wise_ft", "variants": variants, "start": starts[run.seed]}
        return replace(run, results=replace(run.results, **changes))

    runs, columns = [averaging(run) for run in scores.runs], (scores.identity, scores.ood_mean)
    axes = figures.id_against_ood(replace(scores, source=replace(scores.source, runs=runs))).axes[0]
    (line,) = [line for line in axes.lines if line.get_gid() == "averages"]
    points = {row: [scores.cell(row, column)[0] for column in columns] for row in scores.table.rows}
    assert line.get_xydata().tolist() == [points["zero-shot"], [52.5, 52.5], [55, 55], points["vanilla"]]


def history(names, norms):
    values = {"norm": np.array(norms, np.float32), "omega": np.full((2, len(names)), 0.5, np.float32)}
    return History(tuple(names), np.array([10, 20]), np.array([1, 2]), values)


def test_layers_are_parted_and_their_tensors_taken_together():
    stem = "model.{}.layers.0.self_attn.q_proj.lora_{}.default.weight"
    names = [stem.format(tower, kind) for tower in ("vision_tower", "language_model") for kind in "AB"]
    lora, head = history(names, [[3, 4, 1, 1], [6, 8, 0, 2]]), history(["lm_head.weight"], [[1], [7]])
    found = charts.by_layer({"DiGraP": [lora, lora], "LP": [head]}, "norm")
    assert list(found) == ["vision layers", "language layers"]
    assert found["vision layers"]["DiGraP"].to_dict() == {"0.q_proj": {1: 5.0, 2: 10.0}}
    assert found["language layers"]["LP"].to_dict() == {"lm_head": {1: 1.0, 2: 7.0}}
    assert "LP" not in found["vision layers"]
    assert list(charts.by_layer({"": [head]}, "norm")) == ["all layers"]
    assert charts.omega_map([lora]) is None  # fixed
    many = history([f"blocks.{block}.{kind}.weight" for block in range(12) for kind in "abcd"], np.ones((2, 48)))
    assert charts.by_layer({"": [many]}, "norm")["all layers"][""].shape == (2, 12)


def test_accuracy_over_mu_is_of_the_searchs_seeds_and_the_rows_own_runs(small_table, tmp_path):
    table, outputs = small_table
    grid = {"optim.mu": ("0.1", "0.5"), "trainer.base.lr": ("1e-3",)}
    table = replace(table, rows={**table.rows, "DiGraP": Row("DiGraP", ("optim=digrap",), grid)})
    for mu, seed, extra in (("0.1", 100, ()), ("0.5", 100, ()), ("0.5", 101, ()), ("0.5", 100, ("optim.lam=0.1",))):
        cell = table.cell("DiGraP", seed, (f"optim.mu={mu}", "trainer.base.lr=1e-3", *extra))
        write_run(cell, outputs, 60, validation=int(100 * float(mu)))
        write_config(cell, outputs)
    runs, _ = finished(outputs)
    points = mu_grid(table, runs)["DiGraP"].sort_values("mu")
    assert points["mu"].tolist() == [0.1, 0.5] and points["validation"].tolist() == [10.0, 50.0]
    assert set(points["setting"]) == {"lr 0.001"} and charts.over_mu(points) is not None
    assert wanted(table, runs) and not wanted(load_table_of("minivqa", table), runs)


def load_table_of(dataset, table):
    return replace(table, overrides=(f"dataset={dataset}",))


def test_the_telling_example():
    zero, vanilla, digrap = [np.array(values, float) for values in ([1, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 1])]
    assert telling([zero, vanilla, digrap]) == 3  # DiGraP alone of the last two is right
    assert telling([zero[:3], vanilla[:3], digrap[:3]]) == 2  # else one where they differ


class Reader:
    """Pictures of a split that may be missing."""

    def __init__(self, missing=()):
        self.missing = missing

    def examples(self, run, split, places):
        if split in self.missing:
            raise DigrapError(f"no pictures of {split}")
        return [Example(b"picture", "png", 32, "what is it?", f"class {place}") for place in places]

    def answer(self, run, split, place):
        return f"{run.row} says {place}"


def test_examples_of_shifts_and_errors(scores):
    shown, why_not = shifts(scores, Reader())
    assert [one.split for one in shown] == list(scores.source.splits) and not why_not
    assert [answer.row for answer in shown[0].answers] == ["zero-shot", "vanilla", "DiGraP"]
    wrong, _ = errors(scores.runs[0], Reader())
    assert wrong and not any(answer.right for one in wrong for answer in one.answers)
    shown, why_not = shifts(scores, Reader(missing=["sketch"]))
    assert [one.split for one in shown] == ["real", "clipart"] and why_not == "no pictures of sketch"


def test_the_verdict_is_the_paired_tests(scores):
    sentences, rows = verdict(scores)
    assert any(line.startswith("Fine-tuning alone (vanilla) gains +20.0 (") for line in sentences)
    assert "Clearly higher OOD than vanilla without a clear loss ID: DiGraP." in sentences
    assert any(line.startswith("Highest ID: DiGraP with 91.0 %; the paired test puts it above") for line in sentences)
    assert any(line.startswith("zero-shot: loses −20.0 (") for line in rows)


def test_the_verdict_says_what_missing_runs_keep_from_being_tested(scores):
    less = [run for run in scores.runs if (run.row, run.seed) != ("vanilla", 101)]
    sentences, rows = verdict(tally(replace(scores.source, runs=less), dirty=True))
    said = "; not tested: 1 run is missing."
    assert any(line.startswith("Highest ID: DiGraP with 91.0 %") and line.endswith(said) for line in sentences)
    assert any(line.startswith("DiGraP: gains") and line.endswith("(over 1 of 2 seeds).") for line in rows)
    less = [run for run in scores.runs if run.row != "DiGraP"]
    sentences, _ = verdict(tally(replace(scores.source, runs=less), dirty=True))
    assert "Not compared with vanilla, for want of finished runs of one seed: DiGraP." in sentences
