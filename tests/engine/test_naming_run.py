"""Runs on DomainNet-oVQA in its official layout: the real config with a tiny model and a tiny text tower by path."""

import json

import pytest
from huggingface_hub import constants
from omegaconf import OmegaConf

from digrap.cli.score_ovqa import clip_scores
from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.engine import build
from digrap.engine import run as engine
from digrap.engine.rescore import rescore
from digrap.models.text_tower import load_text_tower
from digrap.runs.export import snippet
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import read_bundle
from tests.data import make_domainnet
from tests.engine.runs import assert_resume_is_bit_equal, finished_run, metrics, results, weights
from tests.models import tiny_hf
from tests.models.tiny_clip import make_tower

NAMES = ("cello", "cell phone", "teddy bear", "trumpet", "t-shirt")
SCORES = {"acc", "EM", "Cont", "ClipM1", "ClipM5"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_domainnet.make(tmp_path_factory.mktemp("domainnet"))


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield make_tower(tmp_path_factory.mktemp("tower"), patch)


@pytest.fixture(scope="module")
def overrides(made, tower, tmp_path_factory):
    """The config of Table 2's run, but for tiny models by path and sizes that fit them."""
    folder = tiny_hf.paligemma(tmp_path_factory.mktemp("hub") / "paligemma")
    return [
        "dataset=domainnet_ovqa", "optim=digrap", f"backbone.model={folder}", f"data_root={made.data_root}",
        f"dataset.lists={made.lists}", "dataset.clip.model=tiny", f"dataset.clip.weights={tower}",
        "trainer.batch_size=8", "trainer.micro_batch=4", "trainer.epochs=2", "trainer.eval_batch_size=16",
        "trainer.threads=1", "trainer.workers=0", "log_every=1", "device=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "whole", compose(overrides))


def test_every_domain_has_every_score_and_clip_match_chooses(finished, tower, made):
    folder, cfg = finished
    result, facts = results(folder), json.loads((folder / "run.json").read_text())
    assert result["metric"] == "ClipM1" and set(result["scores"]) == set(cfg.dataset.splits) - {"real_train"}
    assert all(set(scores) == {"kind", "n", *SCORES} for scores in result["scores"].values())
    assert result["selection"]["score"] == result["scores"]["real_val"]["ClipM1"]
    assert max(event["ClipM1"] for event in metrics(folder) if event["event"] == "val") == result["selection"]["score"]
    assert facts["scored_with"] == {"model": "tiny", "weights": tower.name, "sha256": sha256(tower)}
    assert {"transformers", "open_clip_torch"} <= set(result["versions"])
    assert len(list((made.data_root / "clip_match").iterdir())) == 1
    assert all("lora_" in key for key in weights(folder))


def test_the_card_of_an_export_asks_the_model_a_question(finished):
    assert "backbone.answering.generate" in snippet(finished[1])


def test_scores_are_the_scripts_for_the_answers_in_the_bundle(finished, tower):
    folder, _ = finished
    bundle = read_bundle(RunFolder(folder).predictions_file, folder.parent)
    answers, labels = list(bundle.answers("sketch")), [label for label in range(5) for _ in range(4)]
    assert bundle.ids("sketch")[0].startswith("sketch/cello/") and set(bundle.metrics("sketch")) == SCORES
    for name, hits in clip_scores(answers, labels, NAMES, load_text_tower("tiny", tower, "cpu")).items():
        assert bundle.example_scores("sketch", name).tolist() == hits.tolist()
        assert results(folder)["scores"]["sketch"][name] == 100 * hits.mean()


def score(folder, **options):
    defaults = {"split": "sketch", "out": None, "bundle": None, "allow": None, "edited": False, "device": "cpu"}
    return rescore(OmegaConf.create({**defaults, "run": str(folder), **options}))


def test_evaluate_gives_the_runs_scores_with_intervals(finished, capsys):
    folder, _ = finished
    found = score(folder)["scores"]["sketch"]
    printed = json.loads(capsys.readouterr().out)["scores"]["sketch"]
    assert printed == found and {**found, **results(folder)["scores"]["sketch"]} == found
    assert set(found["interval_95"]) == SCORES | {"valid_acc"} and found["valid"] <= found["n"] == 20
    assert found["clip"]["model"] == "tiny"


@pytest.mark.slow
def test_resume_is_bit_equal(finished, tmp_path, monkeypatch):
    assert_resume_is_bit_equal(monkeypatch, finished, tmp_path / "cut")


def losses(folder):
    return [event["loss"] for event in metrics(folder) if event["event"] == "train"]


@pytest.mark.slow
def test_without_clip_match_the_same_is_trained_and_another_score_chooses(finished, overrides, tmp_path):
    plain = [word for word in overrides if not word.startswith("dataset.clip")] + ["dataset.clip=null"]
    with pytest.raises(DigrapError, match="dataset.select_by=ClipM1: dataset.clip is null, .*dataset.select_by=EM"):
        engine.run(compose(plain), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    cfg = compose([*plain, "dataset.select_by=EM"])
    engine.run(cfg, tmp_path / "run")
    folder, with_clip = finished
    assert run_hash(cfg) != run_hash(with_clip) and results(tmp_path / "run")["metric"] == "EM"
    losses = [
        [event["loss"] for event in metrics(place) if event["event"] == "train"] for place in (folder, tmp_path / "run")
    ]
    assert losses[0] == losses[1]
    assert not any("ClipM1" in scores for scores in results(tmp_path / "run")["scores"].values())


def test_the_text_towers_weights_are_asked_for_after_the_data_and_before_the_model(
    overrides, made, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "build_backbone", lambda *_: pytest.fail("the model was read"))
    own = [word for word in overrides if not word.startswith("dataset.clip")]
    with pytest.raises(DigrapError, match="domainnet.*download.py dataset=domainnet"):
        engine.run(compose([*own, f"data_root={tmp_path}/none"]), tmp_path / "run")
    remedy = "give dataset.clip.weights=FILE, fetched elsewhere, or dataset.clip=null dataset.select_by=EM"
    with pytest.raises(DigrapError, match=f"dataset.clip.model=EVA01-g-14: the weights .*2.3 GB.*, or {remedy}"):
        engine.run(compose(own), tmp_path / "run")
    with pytest.raises(DigrapError, match="dataset.clip.weights=/no/file: neither a file"):
        engine.run(
            compose([*own, "dataset.clip={model: EVA01-g-14, weights: /no/file}", "optim=lp_ft"]), tmp_path / "r"
        )
