"""The doors as a user types them."""

import json

import pytest

from digrap.runs.predictions import PREDICTIONS, read_bundle
from tests.doors import call, typed


def test_train_then_evaluate(small_arguments, tmp_path):
    run = typed("train.py", *small_arguments, "trainer.epochs=1", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.returncode == 0, run.stderr
    again = call("train.py", *small_arguments, "trainer.epochs=1", f"hydra.run.dir={tmp_path / 'run'}")
    assert again.returncode == 0 and "is already done" in again.stdout + again.stderr and "sketch" in again.stdout
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    out = tmp_path / "scores.json"
    options = ["split=[sketch,real_val]", "device=cpu", f"out={out}", f"bundle={tmp_path / 'answers'}"]
    evaluated = typed("evaluate.py", f"run={tmp_path / 'run'}", *options)
    assert evaluated.returncode == 0, evaluated.stderr
    scores = json.loads(out.read_text())["scores"]
    assert list(scores) == ["sketch", "real_val"]
    for name, score in scores.items():
        assert {key: score[key] for key in result["scores"][name]} == result["scores"][name]
        assert score["accuracy_95"][0] <= score["accuracy"] <= score["accuracy_95"][1] <= 100
        assert score["top5"] >= score["accuracy"] and 0 <= score["ece"] <= 100 and len(score["per_class"]) == 45
    assert "per_class" not in evaluated.stdout and "ece" in evaluated.stdout
    unused = call("evaluate.py", f"run={tmp_path / 'run'}", "split=sketch", f"data_root={tmp_path}", "seed=7")
    assert unused.returncode == 2 and unused.stdout == ""
    assert unused.stderr.startswith("error: ") and "data_root, seed would be ignored" in unused.stderr
    bundle = read_bundle(tmp_path / "answers" / PREDICTIONS, tmp_path / "answers")
    assert 100 * bundle.example_scores("sketch").mean() == pytest.approx(scores["sketch"]["accuracy"])


def test_a_folder_in_place_of_a_file_is_one_message_that_helps(small_arguments, tmp_path):
    (tmp_path / "config.yaml").mkdir()
    run = call("train.py", *small_arguments, "optim=zero_shot", f"hydra.run.dir={tmp_path}")
    remedy = f"error: {tmp_path / 'config.yaml'}: cannot be read or written (Is a directory); move that folder away\n"
    assert run.returncode == 2 and run.stderr.endswith(remedy) and "Error executing" not in run.stderr
    (tmp_path / "config.yaml").rename(tmp_path / "away")
    run = call("train.py", *small_arguments, "optim=zero_shot", f"hydra.run.dir={tmp_path}")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("argument", ["data_root", "data root=/tmp/x"])
def test_an_argument_without_key_or_value_is_named(argument):
    run = call("train.py", argument)
    assert run.returncode == 2 and run.stderr == f"error: {argument}: give key=value, as in data_root=/data\n"


def test_evaluate_a_bare_backbone(small_arguments):
    small = [argument for argument in small_arguments if not argument.startswith("log_every")]
    run = call("evaluate.py", *small, "split=sketch")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout[run.stdout.index("{") :])["scores"]["sketch"]["n"] == 45


def test_evaluate_names_what_is_wrong(small_arguments, tmp_path):
    small = [argument for argument in small_arguments if not argument.startswith("log_every")]
    run = call("evaluate.py", *small, "split=skech")
    assert run.returncode == 2 and "nearest: sketch" in run.stderr and "Traceback" not in run.stderr
    run = call("evaluate.py", f"run={tmp_path}")
    assert run.returncode == 2 and "no results.json" in run.stderr


def test_multirun_goes_over_methods(small_arguments, tmp_path):
    run = call(
        "train.py", "-m", *small_arguments, "trainer.epochs=1", "trainer.base.lr=1e-3", "optim=zero_shot,digrap",
        f"hydra.sweep.dir={tmp_path}",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "trainer.base.lr=1e-3 optim=zero_shot\n" in run.stdout, "a line of the sweep has what was typed"
    assert "wait" not in run.stdout and "[HYDRA]" not in run.stdout
    methods = {json.loads(path.read_text())["method"] for path in tmp_path.glob("*/results.json")}
    assert methods == {"zero_shot", "digrap"}
