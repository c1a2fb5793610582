"""A run folder's files: reading, writing, and the errors for missing and damaged ones."""

import json

import pytest
from omegaconf import OmegaConf

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.runs.folder import SCHEMA, RunFolder, Validation
from digrap.runs.results import read_results
from tests.synthetic_runs import result

SCORES = {"real_val": ("id_val", 50, 60.0), "real": ("id_test", 100, 70.0)}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "0123456789")


def test_results_come_back(folder):
    assert not folder.done() and folder.finished() is None and folder.validation() is None
    plain = result(SCORES, seed=3, identity="0123456789", caveats=["small"])
    folder.write_results(plain)
    results = folder.results()
    assert folder.done() and results == folder.finished() and results.plain == plain
    assert (results.schema, results.hash, results.seed, results.metric) == (SCHEMA, "0123456789", 3, "accuracy")
    assert (results.caveats, results.variants, results.start, results.protocol) == (("small",), {}, None, None)
    assert folder.validation() == Validation(60.0, 50)
    assert results.score("real") == 70.0 and results.metrics("real") == ["accuracy"] and results.metrics("x") == []


def test_unknown_scores_are_named(folder):
    folder.write_results(result(SCORES, seed=0))
    for arguments, message in [(("reel",), "nearest: real"), (("real", "vqa"), "valid: accuracy")]:
        with pytest.raises(DigrapError, match=message):
            folder.results().score(*arguments)


def test_missing_results_name_the_command(folder):
    with pytest.raises(DigrapError, match="does not exist; give a run folder"):
        folder.results()
    folder.write_config(OmegaConf.create({}))
    for read in (folder.results, folder.weights):
        with pytest.raises(DigrapError, match="no results.json; finish the run first with the same train.py command"):
            read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "results.json is damaged"),
        ("[]", "is damaged .it holds no mapping"),
        ("", "is damaged .it is empty"),
        ("{}", f"has schema None, this version reads {SCHEMA}"),
        ('{"schema": 7}', "has schema 7"),
        (f'{{"schema": {SCHEMA}, "hash": "a"}}', "is damaged .no dataset, backbone"),
        (json.dumps(result(SCORES, 0, selection=3)), "is damaged .selection is 3, not a mapping"),
    ],
)
def test_damaged_results_are_refused(folder, content, message):
    folder.path.mkdir()
    folder.results_file.write_text(content)
    for read in (folder.results, folder.finished, folder.validation, folder.weights):
        with pytest.raises(DigrapError, match=message):
            read()


def test_a_selection_without_its_split_is_damaged(folder):
    write_json(folder.results_file, result(SCORES, 0, selection={"split": "gone", "epoch": 1, "score": 1.0}))
    with pytest.raises(DigrapError, match=r"results.json is damaged \(selection.split is 'gone', which scores lack"):
        folder.validation()


def test_results_that_could_not_be_read_are_not_written(folder):
    with pytest.raises(DigrapError, match="no hash"):
        folder.write_results({"schema": SCHEMA})
    assert not folder.done()


def test_weights(folder):
    folder.write_results(result(SCORES, 0, weights=None))
    assert folder.weights() is None
    folder.write_results(result(SCORES, 0, weights="checkpoints/best.safetensors"))
    with pytest.raises(DigrapError, match="best.safetensors is missing; delete .*0123456789 and train the run again"):
        folder.weights()
    folder.checkpoints.mkdir()
    (folder.checkpoints / "best.safetensors").touch()
    assert folder.weights() == folder.checkpoints / "best.safetensors"


def test_config(folder):
    with pytest.raises(DigrapError, match="config.yaml is missing"):
        folder.config()
    folder.write_config(OmegaConf.create({"seed": 3}))
    assert folder.config().seed == 3
    for text in ("[", "[1]", "a: ${b"):
        folder.config_file.write_text(text)
        with pytest.raises(DigrapError, match="config.yaml is damaged"):
            folder.config()


def test_facts_are_never_an_error(folder):
    assert folder.facts() == {}
    folder.write_facts({"seed": 1})
    folder.note(wall_s=2.5)
    assert folder.facts() == {"seed": 1, "wall_s": 2.5}
    for text in ("{", "[]"):
        folder.facts_file.write_text(text)
        assert folder.facts() == {}


def test_error(folder):
    assert folder.error() is None
    folder.write_error("no space left")
    assert folder.error() == "no space left\n"
    folder.clear_error()
    folder.clear_error()
    assert folder.error() is None


def test_metrics(folder):
    assert folder.metrics() == [] and folder.last_record("train") is None
    folder.path.mkdir()
    records = [{"event": name, "step": step, "epoch": 1} for name, step in (("train", 1), ("train", 2), ("val", 2))]
    folder.metrics_file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert folder.metrics() == records and folder.last_record("train") == records[1]
    with open(folder.metrics_file, "a") as file:
        file.write('{"event": "train", "st')
    assert folder.last_record("train") == records[1], "a line that is being written does not count"
    with pytest.raises(DigrapError, match="metrics.jsonl, line 4, is damaged"):
        folder.metrics()


def test_checkpoints(folder):
    assert folder.checkpoint_steps() == []
    for step in (20, 5):
        folder.checkpoint(step).mkdir(parents=True)
    (folder.checkpoints / ".step-00000030.tmp").mkdir()
    (folder.checkpoints / "step-x").mkdir()
    assert folder.checkpoint_steps() == [5, 20] and folder.checkpoint(5).name == "step-00000005"


def test_a_published_file_is_read_alike(tmp_path):
    write_json(tmp_path / "0123456789.json", result(SCORES, 4))
    assert read_results(tmp_path / "0123456789.json").seed == 4
