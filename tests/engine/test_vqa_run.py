"""A run whose answers are texts and whose scores are soft: the engine, bundles and tables know nothing of classes."""

import json
import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from digrap.engine.rescore import rescore
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import read_bundle
from tests.engine.runs import assert_resume_is_bit_equal, finished_run, metrics, results, weights
from tests.tasks.answering import ANSWERS, write_questions


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions") / "own")


@pytest.fixture(scope="module")
def finished(questions, tmp_path_factory):
    """A finished run and its config."""
    return finished_run(tmp_path_factory.mktemp("runs") / "whole", compose(questions))


def test_every_scorer_is_in_the_results(finished):
    folder, _ = finished
    result = results(folder)
    assert result["metric"] == "official2021" and set(result["scores"]) == {"val", "test", "far"}
    for scores in result["scores"].values():
        assert scores["n"] == 24 and {"official2021", "official2017", "m4c"} <= set(scores)
    assert result["selection"]["score"] == result["scores"]["val"]["official2021"] > 30
    best = max(event["official2021"] for event in metrics(folder) if event["event"] == "val")
    assert best == result["selection"]["score"]


def test_the_bundle_holds_answers_ids_and_soft_scores(finished):
    folder, _ = finished
    bundle = read_bundle(RunFolder(folder).predictions_file, folder.parent)
    assert set(bundle.splits) == {"val", "test", "far"} and bundle.ids("far")[:2] == ["300", "301"]
    assert set(bundle.answers("test")) <= set(ANSWERS)
    for split, scores in results(folder)["scores"].items():
        for scorer in ("official2021", "official2017", "m4c"):
            found = bundle.example_scores(split, scorer)
            assert found.shape == (24,) and set(np.round(found, 9)) <= {0.0, 0.3, 0.6, 0.9, 1.0}
            assert 100 * found.mean() == pytest.approx(scores[scorer])
    assert len(set(bundle.example_scores("val", "official2021"))) > 2


def test_resume_is_bit_equal(finished, tmp_path, monkeypatch):
    assert_resume_is_bit_equal(monkeypatch, finished, tmp_path / "cut")


def test_evaluate_reports_by_scorer_and_type(finished, capsys, tmp_path):
    folder, _ = finished
    options = {"bundle": None, "allow": "tests.tasks.answering.build", "edited": False, "device": "cpu"}
    cfg = OmegaConf.create({"run": str(folder), "split": "far", "out": str(tmp_path / "all.json"), **options})
    rescore(cfg)
    printed, whole = json.loads(capsys.readouterr().out), json.loads((tmp_path / "all.json").read_text())
    assert printed["scores"]["far"]["official2021"] == results(folder)["scores"]["far"]["official2021"]
    assert "by_type" not in printed["scores"]["far"] and len(printed["scores"]["far"]["m4c_95"]) == 2
    assert set(whole["scores"]["far"]["by_type"]["m4c"]["per_answer_type"]) == {"other", "number"}


def test_scoring_and_checks_are_no_part_of_the_hash(questions):
    plain = run_hash(compose(questions))
    assert run_hash(compose([*questions, "dataset.check_pictures=false", "dataset.strict=true"])) == plain
    assert run_hash(compose([*questions, "dataset.select_by=m4c"])) != plain


def test_a_backbone_that_answers_nothing_is_refused_before_any_file(tmp_path):
    with pytest.raises(DigrapError, match="its task is vqa, but backbone=mini_resnet is made for classification"):
        engine.run(compose(["dataset=vqav2", "backbone=mini_resnet", f"data_root={tmp_path}/none"]), tmp_path / "run")


def test_an_unknown_option_of_a_builder_is_named(questions, tmp_path):
    with pytest.raises(DigrapError, match="dataset.image: dataset=vqa_json has no such option; nearest: images"):
        engine.run(compose([*questions, "+dataset.image=a"]), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["~dataset.root"], "dataset=vqa_json: missing a required argument: 'root'"),
        (
            ["dataset._target_=digrap.data.nowhere.build"],
            "dataset._target_=digrap.data.nowhere.build: there is no such",
        ),
    ],
)
def test_a_choice_that_cannot_be_built_is_one_message(questions, tmp_path, overrides, message):
    with pytest.raises(DigrapError, match=message):
        engine.run(compose([*(o for o in questions if "dataset.root" not in o), *overrides]), tmp_path)


def test_a_score_that_does_not_apply_to_validation_is_named(tmp_path, caplog):
    overrides = write_questions(tmp_path / "own")
    file = tmp_path / "own" / "val.json"
    entries = json.loads(file.read_text())
    entries[0]["answers"] = entries[0]["answers"][:9]
    file.write_text(json.dumps(entries))
    with caplog.at_level("WARNING"):
        engine.run(compose([*overrides, "trainer.epochs=1"]), tmp_path / "run")
    said = "val: no score by m4c, which needs ten answers: 1 of 24 questions have another number"
    assert [message for message in caplog.messages if "m4c" in message] == [said]
    assert "m4c" not in results(tmp_path / "run")["scores"]["val"]
    with pytest.raises(DigrapError, match="dataset.select_by=m4c does not apply to every example of ID validation"):
        engine.run(compose([*overrides, "trainer.epochs=1", "dataset.select_by=m4c"]), tmp_path / "m4c")


def test_tpgm_learns_its_bounds_from_questions(questions, tmp_path):
    """A hook runs the loss through a callable in place of the module."""
    engine.run(compose([*questions, "optim=tpgm", "trainer.epochs=1"]), tmp_path)
    assert results(tmp_path)["method"] == "tpgm"


def test_wise_ft_averages_it(questions, tmp_path):
    engine.run(compose([*questions, "optim=wise_ft", "optim.curve=[]"]), tmp_path / "wise")
    start = tmp_path / results(tmp_path / "wise")["start"]["hash"]
    tuned, averaged = weights(start), weights(tmp_path / "wise")
    assert averaged.keys() == tuned.keys() and not (averaged["head.weight"] == tuned["head.weight"]).all()
    shutil.rmtree(start)
