"""The task of naming: VQA's batches, loss and answers; scores of class names as text and by ClipMatch."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from digrap.cli import score_ovqa
from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.metrics.naming import text_scores
from digrap.metrics.vqa.question import Question
from digrap.models import mini_resnet, text_tower
from digrap.tasks.task import Setting, backbones_for, check_choice, find_weights, task_named
from tests.models.tiny_clip import make_tower
from tests.tasks import answering

CLASSES = ("red", "t-shirt", "a dog", "teddy bear")
SAID = ["Red!", "a t shirt", "T-Shirt", "", "dog", "a dog", "teddy-bear", "blue"]
LABELS = [0, 1, 1, 0, 2, 3, 3, 2]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    return make_tower(tmp_path, monkeypatch)


def questions(labels=LABELS):
    names = [CLASSES[label] for label in labels]
    made = [Question(str(k), "i", (name,) * 10, question="what ?", dataset="d") for k, name in enumerate(names)]
    return np.array(made, dtype=object)


def said(texts=SAID):
    return {"prediction": np.array(texts, dtype=object)}


def naming(select_by="EM", setting=None, classes=CLASSES):
    return task_named("naming", answering.build(), classes, select_by, setting)


def with_clip(path, cache=None):
    return Setting({"model": "tiny", "weights": str(path)}, "cpu", cache)


def test_batches_loss_and_answers_are_vqas():
    ours, theirs = naming(), task_named("vqa", answering.build(), (), "official2021")
    records = [(Image.new("RGB", (4, 4), "red"), question) for question in questions([0, 2])]
    module = answering.Answerer().eval()
    for train in (False, True):
        made, expected = (task.collate(records, train) for task in (ours, theirs))
        assert made.inputs.keys() == expected.inputs.keys() and (made.truth == expected.truth).all()
        assert all(torch.equal(value, expected.inputs[name]) for name, value in made.inputs.items())
    assert torch.equal(ours.loss(module, made), theirs.loss(module, made))
    assert (ours.predict(module, made)["prediction"] == theirs.predict(module, made)["prediction"]).all()


def test_scores_of_texts_by_hand():
    task = naming()
    scores = task.example_scores(said(), questions())
    assert {name: hits.tolist() for name, hits in scores.items()} == {
        "acc": [1, 0, 1, 0, 0, 0, 1, 0], "EM": [1, 0, 1, 0, 0, 0, 1, 0], "Cont": [1, 1, 1, 0, 0, 0, 1, 0],
    }  # fmt: skip
    report = task.report(said(), questions())
    assert report == text_scores(SAID, LABELS, CLASSES) and "ClipM1" not in report
    assert (report["n"], report["valid"], report["empty"]) == (8, 4, 1) and report["valid_acc"] == 75
    kept, truth = task.stored(said(), questions(), scores)
    assert kept.keys() == {"prediction", "score.acc", "score.EM", "score.Cont"} and truth == {}


def test_clip_match_is_the_scripts(tiny, tmp_path):
    """ClipM1 and ClipM5 of the same answers, class embeddings kept in the folder that the script reads."""
    cache = tmp_path / "clip_match"
    task = naming("ClipM1", with_clip(tiny, cache), (*CLASSES, "cello", "car"))
    scores = task.example_scores(said(), questions())
    tower = text_tower.load_text_tower("tiny", tiny, "cpu")
    expected = score_ovqa.clip_scores(SAID, LABELS, (*CLASSES, "cello", "car"), tower)
    assert {name: scores[name].tolist() for name in expected} == {n: hits.tolist() for n, hits in expected.items()}
    assert 0 < scores["ClipM1"].sum() < 8 and scores["ClipM1"].dtype == np.float64
    (file,) = cache.iterdir()
    assert np.load(file).shape == (6, 16)
    report = task.report(said(), questions())
    assert report["ClipM1"] == 100 * scores["ClipM1"].mean() and len(report["interval_95"]["ClipM5"]) == 2
    assert report["clip"] == {"model": "tiny", "weights": tiny.name, "sha256": sha256(tiny)}


def test_loading_processes_get_no_tower_and_random_numbers_stay(tiny):
    backbone = answering.build()
    before = torch.get_rng_state()
    task = task_named("naming", backbone, CLASSES, "ClipM5", with_clip(tiny))
    assert torch.equal(torch.get_rng_state(), before)
    copy = pickle.loads(pickle.dumps(task.collate)).__self__
    assert copy.clip is None and task.clip is not None and copy.classes == CLASSES


def test_the_tower_is_on_the_runs_device(tiny):
    tower = naming("EM", Setting({"model": "tiny", "weights": str(tiny)}, "meta")).clip.tower
    assert tower.device.type == "meta" and {value.device.type for value in tower.network.parameters()} == {"meta"}


def test_it_takes_the_backbones_of_vqa():
    assert backbones_for("naming") == backbones_for("vqa") == "vqa" and backbones_for("new") == "new"
    with pytest.raises(DigrapError, match="dataset.task=naming: this backbone does not answer questions"):
        task_named("naming", mini_resnet.mini_resnet(), CLASSES, "EM")


@pytest.mark.parametrize("score", ["ClipM1", "ClipM5"])
def test_clip_scores_need_the_model_and_the_remedy_helps(score):
    with pytest.raises(DigrapError, match=f"select_by={score}: dataset.clip is null, .*give dataset.select_by=EM "):
        check_choice("naming", score, Setting())
    check_choice("naming", "EM", Setting())


@pytest.mark.parametrize("clip", [False, "EVA01-g-14", {"model": "EVA01-g-14"}, {"model": "a", "weights": None}])
def test_a_clip_that_names_no_model_is_refused(clip):
    with pytest.raises(DigrapError, match=r"dataset.clip=.*: give \{model: …, weights: …\}.* dataset.clip=null data"):
        check_choice("naming", "EM", Setting(clip))


def test_bad_choices_are_named():
    with pytest.raises(DigrapError, match="dataset.select_by=F1: there is no such score; .*EM"):
        naming("F1")
    with pytest.raises(DigrapError, match="this dataset has no classes to name; dataset.task=vqa needs none"):
        naming(classes=())
    with pytest.raises(DigrapError, match="classes 'a b' and 'A-B' are equal once normalised"):
        naming(classes=("a b", "A-B"))
    with pytest.raises(DigrapError, match="d question 2: its answer 'a dog' is not one of the 2 classes"):
        naming(classes=CLASSES[:2]).example_scores(said(["", "", ""]), questions([0, 1, 2]))


def test_missing_weights_are_named_with_the_ways_out(tiny):
    with pytest.raises(
        DigrapError, match="dataset.clip.weights=/no/file: neither a file.* dataset.clip=null dataset.s"
    ):
        find_weights("naming", with_clip("/no/file"))
    find_weights("naming", with_clip(tiny))
    find_weights("naming", Setting())
