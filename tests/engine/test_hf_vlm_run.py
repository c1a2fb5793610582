"""Runs of models in the hub's format on VQAv2's ten sets in their official files: the real configs, tiny weights."""

import json
import re

import pytest
import torch
from huggingface_hub import constants
from omegaconf import OmegaConf

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from digrap.engine.rescore import rescore
from tests.data import make_vqa
from tests.engine.runs import assert_resume_is_bit_equal, finished_run, metrics, results, weights
from tests.models import tiny_hf


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_vqa.make(tmp_path_factory.mktemp("vqa"))


@pytest.fixture(scope="module", params=["paligemma_3b", pytest.param("llava_7b", marks=pytest.mark.slow)])
def overrides(request, made, tmp_path_factory):
    """The config of Table 3's run, but for a tiny model by path and sizes that fit it."""
    folder = tiny_hf.MAKERS[request.param](tmp_path_factory.mktemp("hub") / request.param)
    return [
        "dataset=vqav2", f"backbone={request.param}", f"backbone.model={folder}", f"data_root={made.data_root}",
        "dataset.train_share=1", "dataset.val_share=0.5", "trainer.batch_size=8", "trainer.micro_batch=4",
        "trainer.epochs=2", "trainer.eval_batch_size=16", "trainer.threads=1", "trainer.workers=0", "log_every=1",
        "device=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "whole", compose(overrides))


def test_the_run_has_every_split_and_says_what_it_stands_on(finished):
    folder, cfg = finished
    result, facts = results(folder), json.loads((folder / "run.json").read_text())
    assert set(result["scores"]) == set(cfg.dataset.splits) - {"vqav2_train"}
    assert all({"official2021", "official2017", "m4c"} <= set(scores) for scores in result["scores"].values())
    assert result["decoding"] == {"name": "card", "beams": 5, "max_new_tokens": 10}
    assert (result["eval_batch_size"], result["eval_order"]) == (16, "longest first")
    assert facts["weights"]["image_processor"].endswith("(torchvision)") and facts["weights"]["source"] == "file"
    assert [event["step"] for event in metrics(folder) if event["event"] == "train"][:3] == [1, 2, 3]


def test_adapters_alone_are_trained_and_saved_in_float32(finished):
    saved = weights(finished[0])
    assert all("lora_" in key for key in saved) and {value.dtype for value in saved.values()} == {torch.float32}
    assert any(value.abs().sum() > 0 for key, value in saved.items() if "lora_B" in key)
    assert not any("vision_tower" in key and ".layers.2." in key for key in saved)


def test_evaluate_gives_the_runs_scores(finished, capsys):
    folder, _ = finished
    options = {"split": "textvqa", "out": None, "bundle": None, "allow": None, "edited": False, "device": "cpu"}
    found = rescore(OmegaConf.create({"run": str(folder), **options}))
    capsys.readouterr()
    assert found["scores"]["textvqa"]["official2021"] == results(folder)["scores"]["textvqa"]["official2021"]


@pytest.mark.slow
def test_resume_is_bit_equal(finished, tmp_path, monkeypatch):
    assert_resume_is_bit_equal(monkeypatch, finished, tmp_path / "cut")


def test_weights_are_asked_for_after_the_data_and_before_they_are_read(made, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DigrapError, match="dataset=vqav2: no files under .*download.py dataset=vqa_all") as asked:
        engine.run(compose(["dataset=vqav2", f"data_root={tmp_path}", "device=cpu"]), tmp_path / "run")
    weights = "backbone.model=google/pali.* is not in the local cache either: .*11.7 GB; .*`hf download google/pali"
    assert re.search(weights, str(asked.value)), "one message asks for data and weights"
    monkeypatch.setattr("digrap.data.vqa.read_set.read_set", lambda *arguments: pytest.fail("the data were read"))
    with pytest.raises(DigrapError, match="backbone.model=google/paligemma-3b-pt-224: its weights .* `hf download goo"):
        engine.run(compose(["dataset=vqav2", f"data_root={made.data_root}", "device=cpu"]), tmp_path / "run")


def test_an_empty_folder_has_no_files_and_a_split_of_null_names_what_leaves_it_out(tmp_path):
    """A download that failed leaves empty folders."""
    (tmp_path / "vqa" / "advqa").mkdir(parents=True)
    words = ["dataset=vqav2", f"data_root={tmp_path}", "device=cpu"]
    with pytest.raises(DigrapError, match="no files under .* of .*advqa"):
        engine.run(compose(words), tmp_path / "run")
    with pytest.raises(DigrapError, match="dataset.splits.vizwiz=None: '~dataset.splits.vizwiz' leaves a set out"):
        engine.run(compose([*words, "dataset.splits.vizwiz=null"]), tmp_path / "run")


def test_adapters_to_begin_with_are_looked_for_before_the_model_is_read(made, tmp_path, monkeypatch):
    monkeypatch.setattr("digrap.models.hf_vlm.find_model", lambda *arguments: pytest.fail("the model was looked for"))
    words = ["dataset=vqav2", f"data_root={made.data_root}", f"peft.start={tmp_path / 'none'}", "device=cpu"]
    with pytest.raises(DigrapError, match="peft.start=.*none: there is no such folder"):
        engine.run(compose(words), tmp_path / "run")
