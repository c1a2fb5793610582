"""Runs of the tiny vision-language models with LoRA: the whole way, what they save, and what follows them."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from peft import PeftModel
from PIL import Image

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine import launch
from digrap.engine import run as engine
from digrap.engine.build import build_backbone
from digrap.engine.rescore import rescore, trained_backbone, write_whole_model
from digrap.runs.export import card, export, portable, read_trained
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import read_bundle
from tests.engine import ranks
from tests.engine.runs import assert_resume_is_bit_equal, finished_run, load_checkpoint, metrics, results, weights

COLORS = ("red", "blue", "green", "black")


def write_questions(root, count=24):
    """Plain pictures; what color they have, or whether it is a given one."""
    (root / "images").mkdir(parents=True)
    for color in COLORS:
        Image.new("RGB", (48, 48), color).save(root / "images" / f"{color}.png")
    for split in ("train", "val", "test", "test_far"):
        draw, entries = random.Random(split), []
        for k in range(count):
            color, other = draw.choice(COLORS), draw.choice(COLORS)
            asked = ("what color is this ?", color), (f"is it {other} ?", "yes" if color == other else "no")
            question, answer = asked[k % 2]
            entries.append({"question_id": k, "image": f"{color}.png", "question": question, "answers": [answer] * 10})
        (root / f"{split}.json").write_text(json.dumps(entries))
    return root


def run_on(root):
    """Overrides of a small run on such questions."""
    return [
        "dataset=vqa_json", f"dataset.root={root}", "dataset.far_ood=[far]", "backbone=tiny_paligemma",
        "backbone.pretrained=false", "peft=lora", "trainer=mini", "schedule=constant", "trainer.batch_size=8",
        "trainer.micro_batch=4", "trainer.epochs=3", "log_every=1", "trainer.base.lr=0.01", "trainer.validate_every=1",
        "trainer.eval_batch_size=7", "device=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    return run_on(write_questions(tmp_path_factory.mktemp("questions") / "own"))


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory):
    """A finished run of DiGraP and its config."""
    return finished_run(tmp_path_factory.mktemp("runs") / "whole", compose(overrides))


def test_answers_are_shown_at_every_validation(overrides, tmp_path, caplog):
    caplog.set_level("INFO", "digrap")
    engine.run(compose([*overrides, "trainer.epochs=2"]), tmp_path)
    shown = [line for line in caplog.messages if line.startswith("answers: ")]
    assert len(shown) == 3, "two validations and the test of its split"
    said = read_bundle(tmp_path / "predictions.npz", tmp_path.parent).answers("val")
    asked = [entry["question"] for entry in json.loads((Path(overrides[1].partition("=")[2]) / "val.json").read_text())]
    for place in (0, 11, 23):
        assert f"{asked[place]!r} → {said[place]!r} (people: " in shown[-1]
    assert shown[-1].count("people") == 3


def test_a_run_without_one_right_answer_says_so(overrides, tmp_path, caplog):
    engine.run(compose([*overrides, "trainer.base.lr=0", "trainer.epochs=2"]), tmp_path)
    assert results(tmp_path)["selection"]["score"] == 0
    assert "ID validation is 0 %: not one answer is right; the answers above show what the model says" in caplog.text
    assert "a smaller trainer.base.lr is the usual fix" not in caplog.text


def test_evaluate_decodes_otherwise_on_request(finished):
    asked = {"run": str(finished[0]), "split": "far", "out": None, "bundle": None, "edited": False, "device": "cpu"}
    assert rescore(OmegaConf.create({**asked, "decoding": "card"}))["decoding"]["beams"] == 5
    with pytest.raises(DigrapError, match="trainer.decoding=beam.*one of card, authors, greedy"):
        rescore(OmegaConf.create({**asked, "decoding": "beam"}))


def test_it_learns_and_says_how_it_decodes(finished):
    folder, _ = finished
    losses = [event["loss"] for event in metrics(folder) if event["event"] == "train"]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    result = results(folder)
    assert result["decoding"] == {"name": "greedy", "beams": 1, "max_new_tokens": 10}
    assert (result["eval_batch_size"], result["eval_order"]) == (7, "longest first")
    assert "dropped" not in result
    assert {"transformers", "peft"} <= set(result["versions"])
    layers = [event for event in metrics(folder) if event["event"] == "layers"][-1]["tensors"]
    assert len(layers) == 36 and all(entry["relative"] is None for entry in layers.values())
    factors = [entry for key, entry in layers.items() if "lora_B" in key]
    assert all(entry["norm"] > 0 and "omega" in entry for entry in factors)


def test_only_adapters_are_saved(finished):
    folder, _ = finished
    saved = weights(folder)
    assert len(saved) == 36 and all("lora_A" in key or "lora_B" in key for key in saved)
    assert (folder / results(folder)["weights"]).stat().st_size < 200_000


def test_a_checkpoint_holds_nothing_of_frozen_weights(overrides, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr("digrap.engine.fit.Fit._end_epoch", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        engine.run(compose([*overrides, "trainer.checkpoint_minutes=0"]), tmp_path)
    state = load_checkpoint(tmp_path / "checkpoints")
    assert all("lora_" in key for key in state["module"]) and len(state["optimizer"]["state"]) == 36
    sizes = [
        value.numel()
        for entry in state["optimizer"]["state"].values()
        for value in entry.values()
        if torch.is_tensor(value)
    ]
    assert max(sizes) <= 8 * 128


def test_resume_is_bit_equal(finished, tmp_path, monkeypatch):
    assert_resume_is_bit_equal(monkeypatch, finished, tmp_path / "cut")


def test_loading_processes_change_nothing(finished, overrides, tmp_path):
    engine.run(compose([*overrides, "trainer.workers=1", "trainer.epochs=1"]), tmp_path)
    first = [event["loss"] for event in metrics(tmp_path) if event["event"] == "train"]
    assert first == [event["loss"] for event in metrics(finished[0]) if event["event"] == "train"][: len(first)]


def score(folder, **changes):
    options = {"split": "far", "out": None, "bundle": None, "allow": None, "edited": False, "device": "cpu"}
    return rescore(OmegaConf.create({"run": str(folder), **options, **changes}))


def test_evaluate_gives_the_runs_scores(finished, capsys):
    folder, _ = finished
    result = score(folder)
    assert result["scores"]["far"]["official2021"] == results(folder)["scores"]["far"]["official2021"]
    assert result["decoding"] == {"name": "greedy", "beams": 1, "max_new_tokens": 10}
    assert (result["eval_batch_size"], result["eval_order"]) == (7, "longest first")


def test_an_export_has_the_whole_model_and_pefts_own_files(finished, tmp_path, monkeypatch, capsys):
    folder, cfg = finished
    out, classes = tmp_path / "out", ()
    export(folder, out, classes, lambda file: write_whole_model(cfg, classes, RunFolder(folder).weights(), file))
    assert {path.name for path in (out / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert score(out)["scores"]["far"]["official2021"] == results(folder)["scores"]["far"]["official2021"]
    own = trained_backbone(cfg, classes, RunFolder(folder).weights())
    inputs = own.answering.encode([Image.new("RGB", (48, 48), "red")], ["what color is this ?"])
    plain = trained_backbone(OmegaConf.merge(cfg, {"peft": {"_target_": None}}), classes, None).module
    loaded = PeftModel.from_pretrained(plain, str(out / "adapter")).eval()
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, own.module.eval()(**inputs).logits)
    capsys.readouterr()
    monkeypatch.chdir(out)
    text = (out / "README.md").read_text()
    exec(text.split("```python\n")[1].split("```")[0].replace("what is in the image?", "what color is this ?"), {})
    assert "adapter/` has the adapters alone" in text and "| adapters | lora, anchor = " in text
    assert capsys.readouterr().out.strip() in read_bundle(folder / "predictions.npz", folder.parent).answers("test")


def test_questions_without_an_answer_are_not_trained_on_and_counted(overrides, tmp_path, caplog):
    root = write_questions(tmp_path / "own")
    entries = json.loads((root / "train.json").read_text())
    for k, answers in ((1, [""] * 10), (5, ["", " ", *[" "] * 5, *["red"] * 3])):
        entries[k]["answers"] = answers
    (root / "train.json").write_text(json.dumps(entries))
    caplog.set_level("WARNING", "digrap")
    engine.run(compose([*overrides, f"dataset.root={root}", "trainer.epochs=1"]), tmp_path / "run")
    assert results(tmp_path / "run")["dropped"] == {"no_answer": 2}
    assert [line for line in caplog.messages if "answer is empty" in line] == [
        "train: 2 × training question whose most frequent answer is empty (left out): train question 1; train question "
        "5"
    ]
    assert [event["step"] for event in metrics(tmp_path / "run") if event["event"] == "train"] == [1, 2]  # 22 of 24
    about = json.loads((tmp_path / "run" / "data.json").read_text())
    assert about["problems"]["train"]["training question whose most frequent answer is empty (left out)"]["count"] == 2


def test_linear_probing_trains_a_head_that_is_no_longer_the_embedding(overrides, tmp_path):
    folder = tmp_path / "lp"
    engine.run(compose([*overrides, "optim=lp", "peft=none", "trainer.epochs=2"]), folder)
    saved = weights(folder)
    assert list(saved) == ["lm_head.weight"]
    cfg = compose([*overrides, "optim=lp", "peft=none", "trainer.epochs=2"])
    module = trained_backbone(cfg, (), RunFolder(folder).weights()).module
    embedding = module.get_input_embeddings().weight
    assert torch.equal(module.lm_head.weight, saved["lm_head.weight"])
    assert torch.equal(embedding, trained_backbone(cfg, (), None).module.get_input_embeddings().weight)
    assert not torch.equal(module.lm_head.weight, embedding)
    assert score(folder)["scores"]["far"]["official2021"] == results(folder)["scores"]["far"]["official2021"]
    (layers,) = [event["tensors"] for event in metrics(folder) if event["event"] == "layers"][-1:]
    assert 0 < layers["lm_head.weight"]["relative"] < 5


def test_adapters_go_on_from_a_probed_head(overrides, tmp_path):
    """LP-FT: the head is found without the adapters, which are at nothing then, and stays as it was found."""
    engine.run(compose([*overrides, "optim=lp_ft", "trainer.epochs=1"]), tmp_path / "lp_ft")
    first = weights(tmp_path / results(tmp_path / "lp_ft")["start"]["hash"])
    saved = weights(tmp_path / "lp_ft")
    assert set(first) == {"lm_head.weight"} and len(saved) == 37
    assert torch.equal(saved["lm_head.weight"], first["lm_head.weight"])
    engine.run(compose([*overrides, "optim=lp", "peft=none", "trainer.epochs=1"]), tmp_path / "lp")
    assert torch.equal(weights(tmp_path / "lp")["lm_head.weight"], first["lm_head.weight"])


def test_full_fine_tuning_keeps_head_and_embedding_one(overrides, tmp_path):
    cfg = compose([*overrides, "optim=vanilla", "peft=none", "trainer.epochs=1"])
    engine.run(cfg, tmp_path / "full")
    saved = weights(tmp_path / "full")
    assert "lm_head.weight" not in saved and len(saved) > 50
    module = trained_backbone(cfg, (), RunFolder(tmp_path / "full").weights()).module
    assert module.lm_head.weight is module.get_input_embeddings().weight
    assert torch.equal(module.lm_head.weight, saved["model.language_model.embed_tokens.weight"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", ["ftp", "spd", "l2sp", "mars_sp", "tpgm", "partial_fusion"])
def test_every_rule_runs_on_adapters(overrides, tmp_path, method):
    engine.run(compose([*overrides, f"optim={method}", "trainer.epochs=1"]), tmp_path)
    saved = weights(tmp_path)
    adapters = {key for key in saved if "lora_" in key}
    assert bool(adapters) == (method != "partial_fusion") and (adapters == set(saved)) == bool(adapters)


def test_llava_runs_with_half_precision_too(overrides, tmp_path):
    changes = ["backbone=tiny_llava", "backbone.pretrained=false", "trainer.precision=bf16", "trainer.epochs=2"]
    engine.run(compose([*overrides, *changes]), tmp_path)
    losses = [event["loss"] for event in metrics(tmp_path) if event["event"] == "train"]
    assert losses[-1] < losses[0] and {value.dtype for value in weights(tmp_path).values()} == {torch.float32}


def test_wise_ft_halves_the_product(overrides, tmp_path):
    engine.run(compose([*overrides, "optim=wise_ft", "optim.curve=[]", "trainer.epochs=1"]), tmp_path / "wise")
    half, whole = weights(tmp_path / "wise"), weights(tmp_path / results(tmp_path / "wise")["start"]["hash"])
    assert half.keys() == whole.keys()
    assert all(torch.equal(half[key], whole[key] / (2 if "lora_B" in key else 1)) for key in half)


def test_adapters_stand_on_the_same_weights_as_the_plain_model(overrides):
    from digrap.engine.trained_state import base_of

    plain = trained_backbone(compose([*overrides, "peft=none"]), (), None)
    assert base_of(trained_backbone(compose(overrides), (), None)) == base_of(plain)


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_llava_whose_last_vision_layer_has_no_gradient_trains_on_two_ranks(overrides, tmp_path, peft):
    """Ranks that wait for a gradient that never comes die at the second step."""
    cfg = compose([*overrides, "backbone=tiny_llava", f"peft={peft}", "trainer.epochs=1"])
    launch.start(2, ranks.make, [(cfg, tmp_path, None)])
    assert [event["step"] for event in metrics(tmp_path) if event["event"] == "train"] == [1, 2, 3]
    assert results(tmp_path)["processes"] == 2


def test_the_hash_knows_adapters_and_decoding(overrides):
    changes = ["peft.r=4", "peft.targets=card", "trainer.decoding=card", "peft=none", "trainer.loss_on=all"]
    assert len({run_hash(compose([*overrides, change])) for change in [*changes, "seed=0"]}) == 6


def test_weights_that_are_not_there_end_in_one_message(overrides, tmp_path):
    cfg = compose([*overrides, "backbone.pretrained=true", f"backbone.weights={tmp_path}/none.safetensors"])
    with pytest.raises(DigrapError, match="none.safetensors: there is no such file; .*backbone.pretrained=false uses"):
        engine.run(cfg, tmp_path / "run")


def test_a_bad_option_of_the_adapters_is_named(overrides):
    with pytest.raises(DigrapError, match="peft.rank: peft=lora has no such option; valid: .*r, alpha"):
        build_backbone(compose([*overrides, "+peft.rank=4"]), ())
    with pytest.raises(DigrapError, match="peft.targets=x: "):
        build_backbone(compose([*overrides, "peft.targets=x"]), ())


def test_a_loss_on_all_tokens_is_for_models_that_read_a_prompt_in_order(overrides):
    assert build_backbone(compose([*overrides, "backbone=tiny_llava", "trainer.loss_on=all"]), ()).answering.whole_loss
    assert not build_backbone(compose([*overrides, "backbone=tiny_llava"]), ()).answering.whole_loss
    with pytest.raises(DigrapError, match="each token of the prompt sees all others.*give trainer.loss_on=answer"):
        build_backbone(compose([*overrides, "trainer.loss_on=all"]), ())
    with pytest.raises(DigrapError, match="backbone=mini_resnet has no loss on a prompt"):
        build_backbone(compose(["trainer.loss_on=all"]), tuple("a" * 45))
    with pytest.raises(DigrapError, match="trainer.loss_on=prompt is out of range; give answer or all"):
        build_backbone(compose([*overrides, "trainer.loss_on=prompt"]), ())


def test_the_card_of_a_run_without_adapters_names_none(finished):
    results_, cfg = read_trained(finished[0])
    cfg.peft = {"name": "none", "anchor": "init"}
    assert "adapter" not in card(results_, portable(cfg))
