"""Answers of a run in the forms of others: score_vqa.py gives the run's own accuracies, ids are the official ones."""

import json
import re
import shutil
import sys
from dataclasses import asdict

import pytest

from digrap.cli import answers, score_vqa
from digrap.cli.door import door
from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.config.overrides import override
from digrap.engine import run as engine
from digrap.runs.predictions import Bundle
from tests.data.minivqa import TINY
from tests.engine.runs import results
from tests.synthetic_runs import write_run

pytestmark = pytest.mark.slow  # make test-all

SIZES = [f"dataset.sizes.{name}={size}" for name, size in asdict(TINY).items()]
ENDINGS = {"vqa": "{}.json", "lmms_eval": "samples_minivqa_{}.jsonl"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("minivqa # 1")


@pytest.fixture(scope="module")
def run(root):
    """The folder of a run of the pre-trained model on all ten sets."""
    cfg = compose(["dataset=minivqa", "optim=zero_shot", *SIZES, override("data_root", root), "device=cpu"])
    folder = root / "outputs" / "minivqa" / run_hash(cfg)
    engine.run(cfg, folder)
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """A script's module and its options → exit code, stdout and stderr, in this process."""

    def called(module, *words, **options):
        monkeypatch.setattr(sys, "argv", ["script", *words, *(f"{key}={value}" for key, value in options.items())])
        code = door(module.main)
        return code, *capsys.readouterr()

    return called


@pytest.mark.parametrize(
    ("format", "scored"), [("vqa", None), ("lmms_eval", {"iv_vqa", "vizwiz", "vqa_rephrasings", "textvqa"})]
)
def test_sets_are_scored_to_the_runs_own_accuracy(run, root, call, tmp_path, format, scored):
    code, said, error = call(answers, run=run, format=format, split="all", out=tmp_path / "all")
    assert code == 0, error
    assert said.count("written: ") == 11
    own = results(run)["scores"]
    assert len({round(scores["official2021"]) for scores in own.values()}) > 5
    for split in scored or own:
        file = tmp_path / "all" / ENDINGS[format].format(split)
        given = {"predictions": file, "dataset": "minivqa", "split": split, "data_root": root, "strict": True}
        code, said, error = call(score_vqa, *SIZES, **given)
        assert code == 0 and json.loads(said)["overall"]["accuracy"] == pytest.approx(own[split]["official2021"]), error


def official(root, *names):
    (folder,) = (path for path in (root / "minivqa").iterdir() if path.is_dir())
    return json.loads(folder.joinpath(*names).read_text())


def test_ids_are_those_of_the_official_files(run, root, call, tmp_path):
    assert call(answers, run=run, out=tmp_path)[0] == 0
    found = {split: json.loads((tmp_path / f"{split}.json").read_text()) for split in results(run)["scores"]}
    kept = official(root, "ok_vqa", "mscoco_val2014_annotations.json")["annotations"]
    assert [entry["question_id"] for entry in found["ok_vqa"]] == [entry["question_id"] for entry in kept]
    assert all(
        type(entry["question_id"]) is int and set(entry) == {"question_id", "answer"} for entry in found["vqa_cp"]
    )
    edits = official(root, "iv_vqa", "v2_mscoco_val2014_annotations.json")["annotations"]
    names = [(entry["question_id"], entry["image_id"]) for entry in edits]
    assert {(entry["question_id"], entry.get("image_id")) for entry in found["iv_vqa"]} - {
        (n, None) for n, _ in names
    } < set(names)
    assert [entry["image"] for entry in found["vizwiz"]] == [
        entry["image"] for entry in official(root, "vizwiz", "val.json")
    ]


def test_samples_have_what_lmms_eval_logs(run, root, call, tmp_path):
    code, _, error = call(
        answers, run=run.name, outputs=root / "outputs", format="lmms_eval", split="textvqa", out=tmp_path / "s.jsonl"
    )
    assert code == 0, error
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    first = lines[0]
    assert [line["doc_id"] for line in lines] == list(range(40))
    assert set(first) == {
        "doc_id", "doc", "target", "arguments", "input", "resps", "filtered_resps", "official2021", "official2017",
        "m4c", "submission",
    }  # fmt: skip
    question = first["doc"]["question"]
    search = {"max_new_tokens": 10, "num_beams": 1, "do_sample": False}
    assert first["arguments"] == [f"<image><bos>{question}\n", search, 0, "minivqa", "textvqa"]
    assert first["input"] == first["arguments"][0]  # lmms-eval's files have it in place of the arguments
    assert first["resps"] == [first["filtered_resps"]] and first["target"] in first["doc"]["answers"]
    mean = 100 * sum(line["official2021"] for line in lines) / len(lines)
    assert mean == pytest.approx(results(run)["scores"]["textvqa"]["official2021"])


def test_what_cannot_be_done_is_one_message(run, root, call, tmp_path, demo):
    (tmp_path / "there.json").write_text("mine")
    classes = write_run(demo[1]["DiGraP"][0], tmp_path / "outputs", 81)
    shutil.copytree(run, tmp_path / "outputs" / "other" / run.name)
    shutil.copytree(run, tmp_path / "outputs" / "minivqa" / run.name)
    for options, message in (
        ({"run": run}, "out= is missing: give run="),
        ({"out": "x"}, "run= is missing"),
        ({"run": run, "out": "x", "format": "csv"}, "format=csv: choose one of vqa, lmms_eval"),
        ({"run": run, "out": "x", "split": "textvq"}, "split=textvq: nearest: textvqa"),
        ({"run": run, "out": tmp_path / "there.json", "split": "textvqa"}, "there.json already exists; give another"),
        ({"run": "0123456789", "out": "x"}, "no run under .* has a hash that begins with this; .*runs.py lists them"),
        (
            {"run": run.name, "out": "x", "outputs": tmp_path / "outputs"},
            "2 hashes begin with this: .*minivqa/.*, .*other/",
        ),
        ({"run": classes, "out": "x"}, "its answers are class names"),
        ({"run": tmp_path / "none", "out": "x"}, "none.json is missing"),
    ):
        code, _, error = call(answers, **options)
        assert code == 2 and error.startswith("error: ") and error.count("\n") == 1
        assert re.search(message, error), error
    assert (tmp_path / "there.json").read_text() == "mine"


def test_other_files_than_those_of_the_run_are_named(run, call, tmp_path, monkeypatch):
    monkeypatch.setattr(Bundle, "ids", lambda self, split: ["7", *map(str, range(1, 40))])
    code, _, error = call(answers, run=run, split="ok_vqa", out=tmp_path / "x.json")
    assert code == 2 and error.startswith(f"error: {run / 'predictions.npz'}: question 7 of split ok_vqa is not in the")
    assert "(40 of 40 are not): give the files that the run was tested on" in error
    assert not (tmp_path / "x.json").exists()
