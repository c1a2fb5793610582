"""Features of pictures kept on disk: the same answers, computed once; and where that is not valid."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from digrap.engine.build import build_backbone
from digrap.methods.trained import choose_trained, training_mode
from digrap.models.backbone import Backbone
from digrap.models.vision_cache import use_vision_cache
from tests.engine.runs import assert_resume_is_bit_equal, evaluate, finished_run, metrics, results, weights
from tests.engine.test_vlm_run import write_questions
from tests.models.test_hf_vlm import ANSWERS, QUESTIONS, pictures

pytestmark = pytest.mark.slow  # make test-all


def built(kind, model, *further, peft="lora"):
    targets = ["peft.targets=language", "peft.dropout=0"] if peft == "lora" else []
    options = [f"backbone={kind}", f"backbone.model={model}", "backbone.dtype=fp32"]
    torch.manual_seed(5)
    backbone = build_backbone(compose(["dataset=vqav2", *options, f"peft={peft}", *targets, *further]), ())
    for name, param in backbone.module.named_parameters():
        if "lora_B" in name:
            nn.init.constant_(param, 0.01)
    backbone.module.eval()
    return backbone


def changing(backbone):
    return [name for name, param in backbone.module.named_parameters() if param.requires_grad]


def cached(kind, model, root, **options):
    backbone = built(kind, model, **options)
    return backbone, use_vision_cache(backbone, changing(backbone), root)


def files(root):
    return sorted(root.rglob("*.safetensors"))


def loss(backbone):
    return backbone.answering.loss(backbone.module, backbone.answering.encode(pictures(), QUESTIONS, ANSWERS))


def test_adapters_are_in_the_language_model_alone(kind, model):
    names = changing(built(kind, model))
    assert len(names) == 2 * 2 * 4 and all("language_model" in name.split(".") for name in names)


def test_loss_and_gradients_equal_those_without_and_pictures_are_computed_once(kind, model, tmp_path):
    plain, (backbone, cache) = built(kind, model), cached(kind, model, tmp_path)
    for each in (plain, backbone):
        training_mode(each.module)
        loss(each).backward()
    torch.testing.assert_close(loss(backbone), loss(plain))
    for name, param in plain.module.named_parameters():
        if param.requires_grad:
            torch.testing.assert_close(backbone.module.get_parameter(name).grad, param.grad)
    assert cache.computed == 3 == len(files(tmp_path))
    again, other = cached(kind, model, tmp_path)
    assert torch.equal(loss(again), loss(backbone)) and other.computed == 0 and cache.folder == other.folder


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_without(beams, kind, model, tmp_path):
    backbone, cache = cached(kind, model, tmp_path)
    for each in (backbone, plain := built(kind, model)):
        each.answering = replace(each.answering, decoding=replace(each.answering.decoding, beams=beams))
    given = [backbone.answering.encode(pictures() * 2, QUESTIONS * 2)] * 2
    first, second = (backbone.answering.generate(backbone.module, inputs) for inputs in given)
    assert first == second == plain.answering.generate(plain.module, given[0]) and cache.computed == 3


def test_who_shares_the_batch_changes_no_bit(kind, model, tmp_path):
    pixels = built(kind, model).answering.encode(pictures(), QUESTIONS)["pixel_values"]
    found = []
    for k, batches in enumerate(([pixels], [pixels[2:], pixels[:2]])):
        inner = cached(kind, model, tmp_path / str(k))[0].module.model
        for batch in batches:
            inner.get_image_features(batch)
        found.append(list(inner.get_image_features(pixels).pooler_output))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    names = [[path.name for path in files(tmp_path / k)] for k in "01"]
    assert names[0] == names[1] and len(names[0]) == 3


def test_half_precision_is_kept_as_it_was_computed(kind, model, tmp_path):
    backbone = built(kind, model, "backbone.dtype=bf16", peft="none")
    use_vision_cache(backbone, (), tmp_path)
    pixels = backbone.answering.encode(pictures(), QUESTIONS)["pixel_values"]
    with torch.no_grad():
        for _ in range(2):
            features = list(backbone.module.model.get_image_features(pixels).pooler_output)
            assert {value.dtype for value in features} == {torch.bfloat16} and features[0].shape == (4, 32)


def test_other_weights_or_another_image_processor_have_another_folder(kind, model, tmp_path):
    places = {cached(kind, model, tmp_path)[1].folder}
    backbone = built(kind, model)
    with torch.no_grad():
        backbone.module.model.multi_modal_projector.get_parameter(
            next(name for name, _ in backbone.module.model.multi_modal_projector.named_parameters())
        ).mul_(2)
    places.add(use_vision_cache(backbone, (), tmp_path).folder)
    places.add(cached(kind, model, tmp_path, peft="lora")[1].folder)
    other = built(kind, model, "backbone.image_backend=pil")
    places.add(use_vision_cache(other, (), tmp_path).folder)
    assert len(places) == 3


@pytest.mark.slow
def test_a_damaged_file_is_computed_again_and_a_full_disk_stops_nothing(kind, model, tmp_path, monkeypatch, caplog):
    expected = loss(cached(kind, model, tmp_path)[0])
    first, second, _ = files(tmp_path)
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    second.write_bytes(b"x")
    backbone, cache = cached(kind, model, tmp_path)
    assert torch.equal(loss(backbone), expected) and cache.computed == 2
    assert caplog.text.count("is damaged") == 2
    backbone, cache = cached(kind, model, tmp_path)
    assert torch.equal(loss(backbone), expected) and cache.computed == 0
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("No space left on device")))
    backbone, cache = cached(kind, model, tmp_path / "full")
    assert torch.equal(loss(backbone), expected) and torch.equal(loss(backbone), expected)
    assert cache.computed == 6 and not files(tmp_path / "full")
    assert caplog.text.count("no more features can be written (") == 1


def test_what_trains_vision_is_refused_with_what_to_give(kind, model, tmp_path):
    for options in ({"peft": "none"}, {}):
        backbone = built(kind, model, **options) if options else built(kind, model, "peft.targets=authors")
        with pytest.raises(DigrapError, match="not frozen .*vision_tower.*; give peft=lora peft.targets=language, "):
            use_vision_cache(backbone, changing(backbone), tmp_path)
    backbone = built(kind, model, peft="none")
    choose_trained(backbone.module, "head", backbone.head)
    use_vision_cache(backbone, changing(backbone), tmp_path)
    backbone = built(kind, model)
    backbone.train_transform = lambda picture: picture
    with pytest.raises(DigrapError, match="training pictures are augmented differently each time; give trainer"):
        use_vision_cache(backbone, changing(backbone), tmp_path)
    with pytest.raises(DigrapError, match="Linear has no vision tower before a language model; give trainer"):
        use_vision_cache(Backbone(nn.Linear(2, 2), None), (), tmp_path)


@pytest.mark.slow
def test_runs_with_it(tmp_path, monkeypatch, capsys):
    """As those without but for the order of sums, resumable bit for bit, whatever was in the folder before."""
    root = write_questions(tmp_path / "own")
    given = [
        "dataset=vqa_json", f"dataset.root={root}", "dataset.far_ood=[far]", f"data_root={tmp_path / 'data'}",
        "backbone=tiny_llava", "peft=lora", "peft.targets=language", "trainer=mini", "schedule=constant", "device=cpu",
        "trainer.batch_size=8", "trainer.epochs=3", "log_every=1", "trainer.base.lr=0.01",
    ]  # fmt: skip
    cached = [*given, "trainer.vision_cache=true"]
    first = finished_run(tmp_path / "first", compose(cached))
    made = files(tmp_path / "data" / "vision_cache")
    assert len(made) == 4  # plain pictures of four colours
    assert_resume_is_bit_equal(monkeypatch, first, tmp_path / "cut")
    engine.run(compose(given), tmp_path / "without")
    runs = [metrics(tmp_path / run) for run in ("first", "without")]
    losses = [[event["loss"] for event in run if event["event"] == "train"] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert weights(first[0]).keys() == weights(tmp_path / "without").keys()
    hashes = [run_hash(compose([*given, *further])) for further in ([], ["trainer.vision_cache=no"], cached[-1:])]
    assert hashes[0] == hashes[1] != hashes[2]
    zero = [run_hash(compose([*given, "optim=zero_shot", *further])) for further in ([], cached[-1:])]
    assert zero[0] != zero[1]
    found = evaluate(f"run={first[0]}", "split=far")["scores"]["far"]
    assert found["official2021"] == results(first[0])["scores"]["far"]["official2021"]
    assert files(tmp_path / "data" / "vision_cache") == made
    untrained = [option for option in cached if not option.startswith("peft")]
    engine.run(compose([*untrained, "optim=zero_shot", "peft=none"]), tmp_path / "zero")
    assert files(tmp_path / "data" / "vision_cache") == made
    with pytest.raises(DigrapError, match="trainer.vision_cache=true: the vision tower or projector is not frozen"):
        engine.run(compose([*cached, "peft.targets=authors"]), tmp_path / "refused")
    assert Path(made[0]).stat().st_size < 10_000
