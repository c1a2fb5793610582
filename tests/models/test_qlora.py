"""QLoRA: the base in nf4 by bitsandbytes, float32 adapters beside it; on a CPU."""

from importlib.util import find_spec

import pytest
import torch
from peft import PeftModel
from PIL import Image
from torch import nn

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from digrap.engine.rescore import trained_backbone, write_whole_model
from digrap.engine.trained_state import TrainedState
from digrap.models.adapter_files import write_adapter
from digrap.models.backbone import Backbone
from digrap.models.merged import merge
from digrap.models.qlora import qlora, quantize, weight_of
from digrap.optim import DiGraP, param_groups
from digrap.runs.export import export, snippet
from digrap.runs.folder import RunFolder
from tests.engine.runs import assert_resume_is_bit_equal, evaluate, finished_run, results, weights
from tests.engine.test_vlm_run import write_questions
from tests.models import tiny_hf
from tests.models.test_lora import OPTIONS, logits, loss, trained
from tests.models.tiny import NAMES, tiny

pytestmark = pytest.mark.slow  # make test-all

needed = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (extra qlora)")


@pytest.fixture(params=[NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.slow)])
def name(request):
    return request.param


def adapted(name, **changes):
    backbone = qlora(tiny(name), **{**OPTIONS, **changes})
    backbone.module.eval()
    return backbone


def linear(module):
    return {key: layer for key, layer in module.named_modules() if isinstance(layer, nn.Linear) and "lora_" not in key}


@needed
def test_linear_layers_are_nf4_and_adapters_float32(name):
    plain, backbone = linear(tiny(name).module), adapted(name)
    found = {key.replace(".base_layer", ""): layer for key, layer in linear(backbone.module).items()}
    assert found.keys() == plain.keys()
    for key, layer in found.items():
        if key == "lm_head":
            assert layer.weight.dtype == torch.float32
            continue
        assert layer.weight.dtype == torch.uint8 and layer.weight.quant_type == "nf4"
        error = (weight_of(layer) - plain[key].weight).abs().mean() / plain[key].weight.abs().mean()
        assert 0.05 < error < 0.1  # that of 16 levels for normally distributed weights
    own = trained(backbone.module)
    assert all("lora_" in key for key in own) and {param.dtype for param in own.values()} == {torch.float32}
    assert len(own) == len(trained(adapted(name).module)) > 10


@needed
def test_a_step_changes_adapters_only_and_its_state_holds_nothing_of_frozen_weights(name):
    backbone = adapted(name, dropout=0.0)
    own, before = trained(backbone.module), {k: v.clone() for k, v in backbone.module.state_dict().items()}
    optimizer = DiGraP(param_groups(backbone.module, peft=True), lr=1e-2)
    first = loss(backbone)
    for _ in range(3):
        optimizer.zero_grad()
        loss(backbone).backward()
        optimizer.step()
    assert loss(backbone) < first
    after = backbone.module.state_dict()
    assert {key for key, value in after.items() if not torch.equal(value, before[key])} == set(own)
    assert set(optimizer.state) == set(own.values()) and set(TrainedState(backbone.module).get()) == set(own)
    held = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    assert sum(value.numel() for value in held) < 4 * sum(param.numel() for param in own.values())


@needed
@pytest.mark.parametrize(("double_quant", "share"), [(True, 0.265), (False, 0.285)])
def test_the_base_takes_about_a_quarter_of_bf16(double_quant, share):
    module = nn.Sequential(nn.Linear(1024, 1024, bias=False)).bfloat16()
    whole = 2 * module[0].weight.numel()
    quantize(module, double_quant)
    assert 0.25 < sum(value.numel() * value.element_size() for value in module.state_dict().values()) / whole < share


@needed
def test_weights_are_computed_with_as_dequantised(name):
    """Forward, in training and evaluation, and backward equal those of a plain layer with the same values."""
    module = nn.Sequential(nn.Linear(128, 256))
    quantize(module, True)
    plain = nn.Linear(128, 256)
    plain.weight.data, plain.bias.data = weight_of(module[0]), module[0].bias.data
    x = torch.randn(5, 128, requires_grad=True)
    for layer in (module.train(), module.eval()):
        torch.testing.assert_close(layer(x), plain(x))
    (grad,) = torch.autograd.grad(module(x).square().sum(), x)
    torch.testing.assert_close(grad, torch.autograd.grad(plain(x).square().sum(), x)[0])


@pytest.mark.slow
@needed
def test_plain_peft_loads_them_on_a_base_in_4_bits(name, tmp_path):
    backbone = adapted(name)
    for param in trained(backbone.module).values():
        nn.init.normal_(param, std=0.1)
    write_adapter(backbone.module, tmp_path, backbone.provenance)
    base = tiny(name).module
    quantize(base, True, kept=("lm_head",))
    loaded = PeftModel.from_pretrained(base, str(tmp_path)).eval()
    assert torch.equal(logits(backbone, loaded), logits(backbone, backbone.module))


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    root = write_questions(tmp_path_factory.mktemp("questions") / "own")
    return [
        "dataset=vqa_json", f"dataset.root={root}", "dataset.far_ood=[far]", "backbone=tiny_paligemma",
        "peft=qlora", "trainer=mini", "schedule=constant", "trainer.batch_size=8", "trainer.epochs=3", "log_every=1",
        "trainer.base.lr=0.01", "trainer.validate_every=1", "device=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "whole", compose(overrides))


@pytest.mark.slow
@needed
def test_resume_is_bit_equal(finished, tmp_path, monkeypatch):
    assert_resume_is_bit_equal(monkeypatch, finished, tmp_path / "cut")
    assert all("lora_" in key for key in weights(finished[0]))
    assert results(finished[0])["versions"]["bitsandbytes"][0].isdigit()


@pytest.mark.slow
@needed
def test_an_export_has_what_was_trained_and_names_its_base(finished, tmp_path, monkeypatch, capsys):
    folder, cfg = finished
    out, saved = tmp_path / "out", RunFolder(folder).weights()
    export(folder, out, (), lambda file: write_whole_model(cfg, (), saved, file))
    assert weights(out).keys() == weights(folder).keys()
    assert "pretrained = False" not in snippet(cfg)
    found = evaluate(f"run={out}", "split=far")["scores"]["far"]["official2021"]
    assert found == results(folder)["scores"]["far"]["official2021"]
    module = trained_backbone(cfg, (), saved).module
    base = tiny("tiny_paligemma", pretrained=True).module
    quantize(base, True, kept=("lm_head",))
    loaded = PeftModel.from_pretrained(base, str(out / "adapter")).eval()
    own = trained_backbone(cfg, (), saved).answering
    inputs = own.encode([Image.new("RGB", (48, 48), "red")], ["what color is this ?"])
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, module.eval()(**inputs).logits)
    monkeypatch.chdir(out)
    text = (out / "README.md").read_text()
    exec(text.split("```python\n")[1].split("```")[0].replace("what is in the image?", "what color is this ?"), {})


@pytest.mark.slow
@needed
def test_the_merged_model_has_the_values_that_were_computed_with(finished):
    """Without adapters and without 4 bits: a plain model gives what the run's model gives, but for float32 sums."""
    folder, cfg = finished
    backbone = trained_backbone(cfg, (), RunFolder(folder).weights())
    before = logits(backbone, backbone.module.eval())
    merged = merge(backbone.module)
    torch.testing.assert_close(logits(backbone, merged), before, rtol=1e-4, atol=1e-4)
    plain = tiny("tiny_paligemma").module
    plain.load_state_dict(merged.state_dict())
    assert torch.equal(logits(backbone, plain), logits(backbone, merged))


@pytest.mark.slow
@needed
@pytest.mark.parametrize("method", ["lp", "wise_ft", "partial_fusion"])
def test_other_methods_run_on_it(overrides, tmp_path, method):
    engine.run(compose([*overrides, f"optim={method}", "trainer.epochs=1"]), tmp_path / "run")
    assert results(tmp_path / "run")["scores"]["far"]["n"] == 24


@pytest.mark.slow
@needed
@pytest.mark.parametrize("kind", tiny_hf.MAKERS)
def test_a_folder_in_the_hubs_format_is_quantised_too(kind, tmp_path):
    folder = tiny_hf.MAKERS[kind](tmp_path / kind)
    cfg = compose(["dataset=vqav2", f"backbone={kind}", f"backbone.model={folder}", "peft=qlora"])
    backbone = trained_backbone(cfg, (), None)
    inputs = backbone.answering.encode([Image.new("RGB", (28, 28), "red")], ["what ?"], ["red"])
    backbone.answering.loss(backbone.module, inputs).backward()
    own = trained(backbone.module)
    assert all(param.grad is not None and param.dtype == torch.float32 for param in own.values())
    kinds = {layer.weight.dtype for key, layer in linear(backbone.module).items() if key != "lm_head"}
    assert kinds == {torch.uint8} and backbone.module.lm_head.weight.dtype == torch.bfloat16


@needed
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"double_quant": "yes"}, "peft.double_quant=yes: give true or false"),
        ({"targets": "x"}, "peft.targets=x: no linear layer of the backbone is called x"),
        ({"r": 0}, "peft.r=0: give a whole number"),
    ],
)
def test_bad_options_are_refused_before_anything_is_quantised(changes, message):
    backbone = tiny("tiny_paligemma")
    with pytest.raises(DigrapError, match=message):
        qlora(backbone, **{**OPTIONS, **changes})
    assert {param.dtype for param in backbone.module.parameters()} == {torch.float32}


@needed
def test_a_model_without_attention_layers_is_refused():
    with pytest.raises(DigrapError, match="is called q_proj, k_proj, v_proj, o_proj"):
        qlora(Backbone(nn.Sequential(nn.Linear(2, 2)), None), **OPTIONS)


def test_where_bitsandbytes_is_missing_one_message_says_what_to_install(overrides, tmp_path, monkeypatch):
    monkeypatch.setattr("digrap.models.qlora.PACKAGE", "bits_and_no_bytes")
    monkeypatch.setattr("digrap.engine.run.check_weights", lambda cfg: pytest.fail("too late"))
    with pytest.raises(DigrapError, match="peft=qlora: .* is not installed; `.* -m pip install .*>=0.50'` installs it"):
        engine.run(compose(overrides), tmp_path / "run")
