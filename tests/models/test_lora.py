"""LoRA on the tiny models: where adapters are, what trains, DiGraP's step on them, and peft's own files."""

import copy

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from digrap.core.errors import DigrapError
from digrap.engine.trained_state import TrainedState
from digrap.methods.method import Context
from digrap.methods.wise_ft import WiSE
from digrap.models.adapter_files import write_adapter
from digrap.models.backbone import Backbone
from digrap.models.lora import has_adapters, lora
from digrap.optim import DiGraP, param_groups
from tests.models.tiny import ANSWERS, NAMES, QUESTIONS, pictures, tiny
from tests.reference.digrap import DiGraP as Reference

OPTIONS = {"r": 8, "alpha": 16, "dropout": 0.05, "targets": "authors"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def adapted(name, moved=0.0, scale=1.0, **changes):
    """A tiny model with adapters; `moved`: the size of what is added to them, as if trained."""
    backbone = lora(tiny(name, scale), **{**OPTIONS, **changes})
    torch.manual_seed(1)
    with torch.no_grad():
        for param in trained(backbone.module).values():
            param.add_(moved * torch.randn_like(param))
    backbone.module.eval()
    return backbone


def trained(module):
    return {key: param for key, param in module.named_parameters() if param.requires_grad}


def loss(backbone, module=None):
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    return backbone.answering.loss(module or backbone.module, inputs)


def logits(backbone, module):
    with torch.no_grad():
        return module(**backbone.answering.encode(pictures(), QUESTIONS)).logits


def test_the_layers_without_a_gradient_that_are_left_out_are_said(name, caplog):
    with caplog.at_level("INFO"):
        adapted(name)
    layers = ", ".join(f"model.vision_tower.encoder.layers.2.self_attn.{part}_proj" for part in "kvq")
    said = f"no adapters in {layers}, which get no gradient"
    assert [message for message in caplog.messages if "gradient" in message] == [said] * (name == "tiny_llava")


@pytest.mark.parametrize(("targets", "vision", "language"), [("authors", 3, 4), ("card", 4, 4), (["v_proj"], 1, 1)])
def test_where_the_adapters_are(name, targets, vision, language):
    """In 2 vision layers (LLaVA's third gives no features) and 3 language layers; two factors a layer."""
    module = adapted(name, targets=targets).module
    found = trained(module)
    assert all("lora_A" in key or "lora_B" in key for key in found) and has_adapters(module)
    of_vision = [key for key in found if "vision_tower" in key]
    assert len(of_vision) == 2 * 2 * vision and len(found) - len(of_vision) == 2 * 3 * language
    assert not any(".layers.2." in key for key in of_vision)
    assert all(8 in param.shape for param in found.values())


def test_untrained_adapters_change_nothing_and_each_has_a_gradient(name):
    plain, backbone = tiny(name), adapted(name)
    assert torch.equal(loss(plain), loss(backbone))
    backbone = adapted(name, moved=0.1)
    loss(backbone).backward()
    assert all(param.grad.abs().sum() > 0 for param in trained(backbone.module).values())


def test_adapters_of_a_half_precision_model_are_float32():
    backbone = tiny("tiny_paligemma")
    backbone.module.bfloat16()
    found = trained(lora(backbone, **OPTIONS).module)
    assert {param.dtype for param in found.values()} == {torch.float32}
    assert backbone.module.lm_head.weight.dtype == torch.bfloat16


def test_digraps_step_on_adapters_equals_the_reference(name):
    backbone = adapted(name, moved=0.1, scale=2)
    backbone.module.double()
    own = trained(backbone.module)
    optimizer = DiGraP(param_groups(backbone.module, peft=True), lr=1e-2, weight_decay=0.1, mu=0.5, lam=0.1)
    slow = {
        key: Reference(param.detach().numpy(), mu=0.5, lam=0.1, weight_decay=0.1, anchor="zero")
        for key, param in own.items()
    }
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    inputs["pixel_values"] = inputs["pixel_values"].double()
    conflicts = 0
    for _ in range(3):
        optimizer.zero_grad()
        backbone.answering.loss(backbone.module, inputs).backward()
        expected = {key: slow[key].step(param.grad.numpy(), 1e-2) for key, param in own.items()}
        conflicts += sum(rule.conflict for rule in slow.values())
        optimizer.step()
        for key, param in own.items():
            torch.testing.assert_close(param.detach(), torch.from_numpy(expected[key]), rtol=1e-9, atol=1e-12)
    assert conflicts > 10 and any(rule.omega > 0 for rule in slow.values())


def test_frozen_weights_are_in_no_optimizer_state_and_no_checkpoint(name):
    backbone = adapted(name, moved=0.1)
    own = trained(backbone.module)
    optimizer = DiGraP(param_groups(backbone.module, peft=True), lr=1e-2)
    loss(backbone).backward()
    optimizer.step()
    held = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    adapters = sum(param.numel() for param in own.values())
    assert set(optimizer.state) == set(own.values()) and sum(value.numel() for value in held) < 4 * adapters
    assert not any("anchor" in state for state in optimizer.state.values())  # zero is not stored
    assert set(TrainedState(backbone.module).get()) == set(own)


def test_plain_peft_loads_them_with_identical_logits(name, tmp_path):
    backbone = adapted(name, moved=0.1)
    write_adapter(backbone.module, tmp_path, backbone.provenance)
    loaded = PeftModel.from_pretrained(tiny(name).module, str(tmp_path)).eval()
    assert torch.equal(logits(backbone, loaded), logits(backbone, backbone.module))
    assert not torch.equal(logits(backbone, loaded), logits(backbone, tiny(name).module))
    assert all(key.startswith("base_model.model.model.") for key in load_file(tmp_path / "adapter_model.safetensors"))
    first = (tmp_path / "adapter_config.json").read_bytes()
    write_adapter(backbone.module, tmp_path, backbone.provenance)
    assert (tmp_path / "adapter_config.json").read_bytes() == first


def test_wise_ft_is_the_mean_of_the_merged_weights(name):
    """(1 − a) W + a (W + B A), merged by peft."""
    backbone, plain = adapted(name, moved=0.1, scale=2), tiny(name, scale=2).module
    (half,) = WiSE(alpha=0.3)(Context(backbone.module, {}, frozenset(), "zero", None))
    shell = PeftModel(copy.deepcopy(plain), backbone.module.peft_config["default"])
    shell.base_model.model.load_state_dict(backbone.module.state_dict())
    merged = shell.merge_and_unload().state_dict()
    expected = tiny(name, scale=2).module
    expected.load_state_dict({key: torch.lerp(value, merged[key], 0.3) for key, value in plain.state_dict().items()})
    backbone.module.load_state_dict(half.weights, strict=False)
    torch.testing.assert_close(logits(backbone, backbone.module), logits(backbone, expected), rtol=1e-4, atol=1e-4)


def test_a_fresh_head_trains_beside_the_adapters():
    module = nn.ModuleDict({"q_proj": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
    backbone = lora(Backbone(module, None, unanchored=("head",)), **{**OPTIONS, "targets": ["q_proj"]})
    assert {key.partition(".")[0] for key in trained(backbone.module)} == {"q_proj", "head"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 0}, "peft.r=0: give a whole number of at least 1"),
        ({"r": 1.5}, "peft.r=1.5: give a whole number"),
        ({"alpha": 0}, "peft.alpha=0: give a number > 0"),
        ({"alpha": "x"}, "peft.alpha=x: give a number > 0"),
        ({"dropout": 1}, "peft.dropout=1: give a number, 0 ≤ dropout < 1"),
        ({"dropout": float("nan")}, "peft.dropout=nan: give a number"),
        (
            {"targets": "autors"},
            "peft.targets=autors: .* is called autors; give authors or card or language, or a list of these: .*q_pr",
        ),
        ({"targets": ["q_proj", "qkv"]}, "is called qkv; give authors"),
        ({"targets": []}, "give authors or card or language"),
    ],
)
def test_bad_options(changes, message):
    with pytest.raises(DigrapError, match=message):
        adapted("tiny_paligemma", **changes)


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(DigrapError, match="is called q_proj, k_proj, v_proj, o_proj; give .* a list of these: fc"):
        lora(Backbone(nn.ModuleDict({"fc": nn.Linear(2, 2)}), None), **OPTIONS)


def test_bitsandbytes_is_quiet_about_a_kernel_that_is_not_used(caplog):
    pytest.importorskip("bitsandbytes.backends.cpu.ops").logger.warning("Failed to load CPU gemm_4bit_forward")
    assert not caplog.text
