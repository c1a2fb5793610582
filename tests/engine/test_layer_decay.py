"""Layer-wise learning rates: groups by hand, of timm and of vision-language models, and a run with them."""

import pytest
import timm
import torch
from torch import nn

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine.fit import Fit
from digrap.engine.layer_decay import with_layer_decay
from digrap.models.depth import below_output
from digrap.models.lora import lora
from digrap.optim import DiGraP, param_groups
from tests.engine.runs import assert_resume_is_bit_equal, finished_run, metrics
from tests.engine.test_vlm_run import write_questions
from tests.models.test_lora import OPTIONS
from tests.models.tiny import tiny

pytestmark = pytest.mark.slow  # make test-all


def linear():
    return nn.Linear(2, 2, bias=False)


class Two(nn.Module):
    """A vision tower of three layers, a language tower of two, a projector between them and a head."""

    def __init__(self):
        super().__init__()
        vision = {"embeddings": linear(), "encoder": nn.ModuleDict({"layers": nn.ModuleList(linear() for _ in "123")})}
        language = {"embed_tokens": linear(), "layers": nn.ModuleList(linear() for _ in "12"), "norm": linear()}
        self.vision_tower, self.projector = nn.ModuleDict({**vision, "post_layernorm": linear()}), linear()
        self.language_model, self.lm_head = nn.ModuleDict(language), linear()


BY_HAND = {  # lr 1, decay 0.5
    "vision_tower.embeddings.weight": 1 / 16,
    "vision_tower.encoder.layers.0.weight": 1 / 8,
    "vision_tower.encoder.layers.1.weight": 1 / 4,
    "vision_tower.encoder.layers.2.weight": 1 / 2,
    "vision_tower.post_layernorm.weight": 1,
    "projector.weight": 1,
    "language_model.embed_tokens.weight": 1 / 8,
    "language_model.layers.0.weight": 1 / 4,
    "language_model.layers.1.weight": 1 / 2,
    "language_model.norm.weight": 1,
    "lm_head.weight": 1,
}


def rates(groups):
    return {name: group["lr"] for group in groups for name, _ in group["params"]}


def test_the_rates_of_two_towers_by_hand():
    module = Two()
    groups = with_layer_decay(param_groups(module, unanchored=["lm_head"]), module, 0.5, 1.0)
    assert rates(groups) == BY_HAND
    assert {group["lr"] for group in groups if group.get("anchor") == "none"} == {1.0}
    optimizer = DiGraP(groups, lr=7.0)
    assert sorted(group["lr"] for group in optimizer.param_groups) == sorted([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1])


def test_a_decay_of_one_leaves_the_groups_as_they_are():
    module = nn.Linear(2, 2)
    groups = param_groups(module)
    assert with_layer_decay(groups, module, 1.0, 1.0) is groups


@pytest.mark.parametrize(("name", "vision"), [("tiny_paligemma", 2), ("tiny_llava", 3)])
def test_adapters_have_the_rate_of_their_layer(name, vision):
    module = lora(tiny(name), **OPTIONS).module
    found = rates(with_layer_decay(param_groups(module, peft=True), module, 0.9, 1e-3))
    for tower, count in (("model.vision_tower.encoder", vision), ("model.language_model", 3)):
        for k in range(count):
            own = {value for key, value in found.items() if key.startswith(f"{tower}.layers.{k}.")}
            unused = name == "tiny_llava" and tower != "model.language_model" and k == 2
            assert own == (set() if unused else {1e-3 * 0.9 ** (count - k)})
    plain = below_output(tiny(name).module)
    assert plain["model.language_model.embed_tokens.weight"] == 4 == max(plain.values())
    assert plain["model.multi_modal_projector." + ("linear" if vision == 2 else "linear_1") + ".weight"] == 0


def test_timms_models_have_timms_own_rates():
    from timm.optim import param_groups_layer_decay

    module = timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=5)
    names = {param: name for name, param in module.named_parameters()}
    theirs = param_groups_layer_decay(module, layer_decay=0.75)
    expected = {names[param]: group["lr_scale"] for group in theirs for param in group["params"]}
    assert rates(with_layer_decay(param_groups(module), module, 0.75, 1.0)) == pytest.approx(expected)


def test_clips_towers_have_layers_too():
    import open_clip

    visual = open_clip.create_model("ViT-B-32").visual
    for module, prefix in ((visual, ""), (nn.ModuleDict({"visual": visual, "head": linear()}), "visual.")):
        found = below_output(module)
        assert found[f"{prefix}conv1.weight"] == found[f"{prefix}positional_embedding"] == 13
        assert found[f"{prefix}transformer.resblocks.0.ln_1.weight"] == 12
        assert found[f"{prefix}ln_post.weight"] == found.get("head.weight", 0) == 0


def test_a_model_without_layers_is_refused_with_what_to_give():
    module = nn.ModuleDict({"body": linear(), "head": linear()})
    with pytest.raises(
        DigrapError, match="trainer.layer_decay: ModuleDict has no sequence of layers .*; give trainer.layer_decay=1"
    ):
        with_layer_decay(param_groups(module), module, 0.9, 1.0)


@pytest.mark.parametrize("value", ["0", "1.5", "-1", "nan"])
def test_rates_that_do_not_fall_are_refused(value):
    with pytest.raises(DigrapError, match="trainer.layer_decay=.* is out of range; give a number, 0 < layer_decay ≤ 1"):
        compose([f"trainer.layer_decay={value}"])


def test_one_rate_for_all_keeps_the_hash():
    plain, decayed = (run_hash(compose(given)) for given in ([], ["trainer.layer_decay=0.9"]))
    assert run_hash(compose(["trainer.layer_decay=1"])) == plain != decayed


@pytest.mark.slow
def test_a_run_takes_its_rates_from_layer_and_schedule_and_resumes(tmp_path, monkeypatch):
    root = write_questions(tmp_path / "own")
    cfg = compose([
        "dataset=vqa_json", f"dataset.root={root}", "backbone=tiny_paligemma", "backbone.pretrained=false", "peft=none",
        "trainer=mini", "schedule=linear_warmup_cosine", "schedule.warmup_steps=2", "trainer.batch_size=8",
        "device=cpu", "trainer.epochs=3", "log_every=1", "trainer.layer_decay=0.5",
    ])  # fmt: skip
    seen = []
    take = Fit._step

    def noting(self, batches):
        seen.append([group["lr"] for group in self.optimizer.param_groups])
        take(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_step", noting)
        finished = finished_run(tmp_path / "whole", cfg)
    shares = torch.tensor(seen) / torch.tensor(seen)[:, :1]
    assert torch.allclose(shares, torch.tensor([1, 0.5, 0.25, 0.125, 0.0625]).expand_as(shares))
    logged = [event["lr"] for event in metrics(finished[0]) if event["event"] == "train"]
    assert logged[:-1] == [rates[0] for rates in seen[1:]]  # of the nearest to the output, after the step
    assert_resume_is_bit_equal(monkeypatch, finished, tmp_path / "cut")
