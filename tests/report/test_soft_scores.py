"""Runs that answer questions: texts as answers, scores between 0 and 1, three scorers; everything a table does."""

import dataclasses

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.report import matched_id, render
from digrap.report.compare_runs import compare
from digrap.report.gather import load_run
from digrap.report.publish import publish
from digrap.report.scores import gather
from digrap.report.verify import verify_table
from digrap.tables import spec
from tests.synthetic_runs import write_soft_run

TABLE = """
title: Questions
overrides: [dataset=minidomainnet]
seeds: [100, 101]
baseline: vanilla
rows: {vanilla: [optim=vanilla], DiGraP: [optim=digrap]}
"""


@pytest.fixture
def made(tmp_path, monkeypatch, quick):
    """A table with all of its runs; DiGraP's scores are 0.1 higher an example."""
    monkeypatch.setattr(spec, "CONFIGS", tmp_path / "configs")
    write_text(tmp_path / "configs" / "tables" / "soft.yaml", TABLE)
    table, outputs = spec.load_table("soft"), tmp_path / "outputs"
    for seed in table.seeds:
        write_soft_run(table.cell("vanilla", seed), outputs, 0)
        write_soft_run(table.cell("DiGraP", seed), outputs, 1)
    return table, outputs


def runs_of(made, seed=100):
    table, outputs = made
    return [load_run(table.cell(row, seed).folder(outputs)) for row in ("DiGraP", "vanilla")]


def test_the_metric_that_chose_is_printed_and_any_other_on_request(made):
    table, outputs = made
    (run, _), scores = runs_of(made), dict.fromkeys((None, "official2017", "m4c"))
    for scorer in scores:
        scores[scorer] = gather(dataclasses.replace(table, scorer=scorer), outputs)
        alone = scores[scorer].values.query("row == 'DiGraP' and seed == 100 and column == 'real'")["value"].item()
        assert alone == run.score("real", scorer) == pytest.approx(100 * run.example_scores("real", scorer).mean())
    assert len({found.cell("DiGraP", "real")[0] for found in scores.values()}) == 3
    assert [render.notes(found)[0].split(" in %")[0] for found in scores.values()] == [
        "Accuracy by the scorer official2021", "Accuracy by the scorer official2017", "Accuracy by the scorer m4c",
    ]  # fmt: skip
    assert run.bundle.answers("real")[:2] == ["answer 0", "answer 1"]


def test_a_table_may_name_its_scorer(made, tmp_path):
    write_text(tmp_path / "configs" / "tables" / "soft.yaml", TABLE + "scorer: m4c\n")
    assert spec.load_table("soft").scorer == "m4c"
    assert spec.load_table("soft", scorer="official2017").scorer == "official2017"
    write_text(tmp_path / "configs" / "tables" / "soft.yaml", TABLE + "scorer: [m4c]\n")
    with pytest.raises(DigrapError, match="give the name of one score"):
        spec.load_table("soft")


def test_an_unknown_scorer_names_those_that_are_known(made):
    table, outputs = made
    with pytest.raises(DigrapError, match="no 'accuracy' of split real; valid: official2021, official2017, m4c"):
        gather(dataclasses.replace(table, scorer="accuracy"), outputs)


def test_differences_are_of_the_examples_scores(made):
    table, outputs = made
    scores = gather(table, outputs)
    assert scores.difference("DiGraP", "real")[0] == pytest.approx(10.0)
    test = scores.compare("DiGraP", "vanilla")["OOD mean"]
    assert (test.mean, test.low, test.high) == pytest.approx((10, 10, 10)) and scores.best("real") == ["DiGraP"]
    squares = gather(dataclasses.replace(table, scorer="m4c"), outputs).compare("DiGraP", "vanilla")["real"]
    assert squares.low < squares.mean < squares.high


def test_two_runs_compared_without_mcnemar(made):
    first, second = runs_of(made)
    (line,) = compare(first, second, "sketch", "m4c")
    assert line.mcnemar is None and line.texts()[5] == "—" and line.n == 60
    assert line.difference.mean == pytest.approx(line.first - line.second)
    assert line.difference.low < line.difference.mean < line.difference.high
    with pytest.raises(DigrapError, match="no scores 'vqa' of split"):
        compare(first, second, scorer="vqa")


def test_other_questions_cannot_be_paired(made):
    table, outputs = made
    write_soft_run(table.cell("DiGraP", 100), outputs, 1, ids="other")
    with pytest.raises(DigrapError, match="have different labels or ids"):
        compare(*runs_of(made))


def test_matched_id_takes_scores(made):
    kinds = {"real": "id_test", "sketch": "near_ood"}
    folder = runs_of(made)[0].file.parent
    for scorer in (None, "m4c"):
        answers = matched_id.read_answers(folder, kinds, scorer)
        identity, ood = matched_id.accuracy([answers])
        assert identity == pytest.approx(load_run(folder).score("real", scorer))
        assert ood == pytest.approx(load_run(folder).score("sketch", scorer))
    reference = [matched_id.read_answers(runs_of(made)[1].file.parent, kinds)]
    gain = matched_id.judge({"vanilla": reference}, {"x": [answers]}, draws=50)["x"]
    assert np.isfinite([gain.gain, gain.low, gain.high]).all()


def test_every_scorer_is_verified(made, tmp_path):
    place, _ = publish(gather(*made), {}, tmp_path / "results")
    checked = verify_table(place)
    assert (checked.differences, checked.scores) == ([], 4 * 7 * 3)
    name = next((place / "runs").glob("*.json"))
    text = name.read_text()
    name.write_text(text.replace('"m4c": ', '"m4c": 1', 1))
    found = "\n".join(verify_table(place).differences)
    assert "the predictions in" in found and f"{name} differs from the manifest" in found


def test_a_scorer_of_the_command_line_is_not_published(made, tmp_path):
    scores = gather(dataclasses.replace(made[0], scorer="m4c"), made[1])
    with pytest.raises(DigrapError, match="write scorer: m4c into .*soft.yaml"):
        publish(scores, {}, tmp_path / "results")
