"""Adapters in peft's format to begin with: names of layers of several releases, and what does not fit."""

import json
import shlex
import shutil

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.config.overrides import as_typed
from digrap.core.errors import DigrapError
from digrap.engine.build import build_backbone
from digrap.models.adapter_files import write_adapter
from tests.models.test_hf_vlm import ANSWERS, QUESTIONS, pictures
from tests.models.test_hub_model import fill

pytestmark = pytest.mark.slow  # make test-all

LANGUAGE, VISION = "model.language_model.", "model.vision_tower."
STYLES = {  # what transformers called the layers: 5, 4.52 and later, earlier
    "5": {},
    "4.52": {VISION: VISION + "vision_model."},
    "4.40": {LANGUAGE: "language_model.model.", VISION: "vision_tower.vision_model."},
}


def published(folder, model, style="5", **changes):
    """Adapters that plain peft made and saved of a plain model, under the names of another release."""
    torch.manual_seed(3)
    plain = AutoModelForImageTextToText.from_pretrained(model)
    names = [name for name, _ in plain.named_modules() if name.endswith(("q_proj", "v_proj"))]
    used = [name for name in names if ".layers.2." not in name]  # LLaVA's last vision layer
    options = {"r": 4, "lora_alpha": 6, "target_modules": used, "init_lora_weights": False, **changes}
    adapted = get_peft_model(plain, LoraConfig(**options)).eval()
    adapted.save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for new, old in STYLES[style].items():
        tensors = {key.replace("base_model.model." + new, "base_model.model." + old): v for key, v in tensors.items()}
    save_file(tensors, file, {"format": "pt"})
    return adapted


def overrides(kind, model, start, *further):
    fitting = ["peft.r=4", "peft.alpha=6", "peft.targets=[q_proj,v_proj]"]
    return ["dataset=vqav2", f"backbone={kind}", f"backbone.model={model}", "backbone.dtype=fp32", *fitting,
            f"peft.start={start}", *further]  # fmt: skip


def built(kind, model, start, *further):
    backbone = build_backbone(compose(overrides(kind, model, start, *further)), ())
    backbone.module.eval()
    return backbone


def logits(backbone, module):
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    inputs.pop("labels")
    with torch.no_grad():
        return module(**inputs).logits


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("style", STYLES)
def test_the_names_of_several_releases_are_known(kind, model, style, tmp_path):
    adapted = published(tmp_path, model, style)
    backbone = built(kind, model, tmp_path)
    assert torch.equal(logits(backbone, backbone.module), logits(backbone, adapted))
    plain = AutoModelForImageTextToText.from_pretrained(model).eval()
    assert not torch.allclose(logits(backbone, plain), logits(backbone, adapted), atol=1e-3)
    assert backbone.provenance["adapters"] == str(tmp_path) and len(backbone.provenance["adapters_sha256"]) == 64


def test_what_was_written_is_begun_with_on_the_same_weights_alone(kind, model, tmp_path):
    published(tmp_path / "peft", model)
    backbone = built(kind, model, tmp_path / "peft")
    write_adapter(backbone.module, tmp_path / "ours", backbone.provenance)
    assert json.loads((tmp_path / "ours" / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    again = built(kind, model, tmp_path / "ours")
    assert torch.equal(logits(again, again.module), logits(backbone, backbone.module))
    other = shutil.copytree(model, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    save_file(
        {key: value.half().float() for key, value in tensors.items()}, other / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DigrapError, match="trained on weights with sha256 .*; give the backbone the weights that they"):
        built(kind, other, tmp_path / "ours")


def test_other_sizes_are_named_with_what_to_give(kind, model, tmp_path):
    published(tmp_path, model, r=2, lora_alpha=8)
    with pytest.raises(DigrapError, match="other sizes than peft.r=4 peft.alpha=6.*; give peft.r=2 peft.alpha=8"):
        built(kind, model, tmp_path)
    built(kind, model, tmp_path, "peft.r=2", "peft.alpha=8")


@pytest.mark.parametrize(
    ("targets", "remedy"),
    [
        (r".*language_model\..*\.(q_proj|k_proj|v_proj|o_proj)", "language"),
        (["q_proj", "k_proj", "v_proj", "o_proj"], "authors"),
        (["q_proj"], "[q_proj]"),
        (r".*language_model\..*\.q_proj", None),
    ],
)
def test_other_layers_are_named_with_the_targets_to_give(kind, model, targets, remedy, tmp_path):
    unused = [f"model.vision_tower.encoder.layers.2.self_attn.{name}_proj" for name in "qkv"]
    published(
        tmp_path, model, "4.40", target_modules=targets, **({"exclude_modules": unused} if "llava" in kind else {})
    )
    with pytest.raises(DigrapError, match="its adapters are on other layers than those of peft.targets=") as refused:
        built(kind, model, tmp_path)
    given = str(refused.value).rpartition("; ")[2]
    if remedy:
        assert shlex.split(given) == ["give", f"peft.targets={remedy}"]
        built(kind, model, tmp_path, f"peft.targets={remedy}")
    else:
        assert given == "no peft.targets gives its layers: it belongs to another model"


@pytest.mark.slow
def test_another_base_model_is_refused(kind, model, tmp_path):
    published(tmp_path, model)
    edit(tmp_path / "adapter_config.json", base_model_name_or_path="google/other")
    with pytest.raises(
        DigrapError, match="trained on google/other, but the backbone is .*; give backbone.model=google/ot"
    ):
        built(kind, model, tmp_path)
    built(kind, model, tmp_path, "peft.base=google/other")
    edit(tmp_path / "adapter_config.json", base_model_name_or_path="/a b/its [one]")
    with pytest.raises(DigrapError, match="give '.*', or 'peft.base=") as refused:
        built(kind, model, tmp_path)
    (advised,) = [word for word in shlex.split(str(refused.value)) if word.startswith("peft.base=")]
    built(kind, model, tmp_path, as_typed(advised))
    edit(tmp_path / "adapter_config.json", base_model_name_or_path="google/other")
    with pytest.raises(DigrapError, match="peft.base=x: its adapter_config.json names google/other"):
        built(kind, model, tmp_path, "peft.base=x")
    edit(tmp_path / "adapter_config.json", base_model_name_or_path=f"google/{model.name}")
    built(kind, model, tmp_path)  # the folder is called as the repository
    edit(tmp_path / "adapter_config.json", base_model_name_or_path=None)
    built(kind, model, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True}, {"use_rslora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]},
        {"peft_type": "IA3"},
        {"rank_pattern": {"q_proj": 2}}, {"init_lora_weights": "pissa"},
    ],
)  # fmt: skip
def test_adapters_of_another_kind_are_refused(changes, kind, model, tmp_path):
    published(tmp_path, model)
    edit(tmp_path / "adapter_config.json", **changes)
    ((key, value),) = changes.items()
    with pytest.raises(DigrapError, match=f"has {key}=.*, which is not supported; use adapters with {key}=") as refused:
        built(kind, model, tmp_path)
    assert str(value) in str(refused.value)


def test_damaged_files_and_missing_ones_are_named(kind, model, tmp_path):
    with pytest.raises(
        DigrapError, match="peft.start=.*/none: there is no such folder .* or a LoRA adapter of the Hug"
    ):
        built(kind, model, tmp_path / "none")
    published(tmp_path, model)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(DigrapError, match="peft.start=.*adapter_model.safetensors: not a readable safetensors file"):
        built(kind, model, tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(DigrapError, match="the folder has no adapter_model.safetensors; it must be complete"):
        built(kind, model, tmp_path)
    (tmp_path / "adapter_model.bin").touch()
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(DigrapError, match="adapter_config.json cannot be read .*; fetch it again"):
        built(kind, model, tmp_path)


def test_a_torch_file_is_read_too(kind, model, tmp_path):
    adapted = published(tmp_path, model)
    torch.save(load_file(tmp_path / "adapter_model.safetensors"), tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_model.safetensors").unlink()
    backbone = built(kind, model, tmp_path)
    assert torch.equal(logits(backbone, backbone.module), logits(backbone, adapted))


def test_a_hubs_repository_is_taken_from_the_cache_or_named_with_how_to_get_it(kind, model, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DigrapError, match="peft.start=me/mine: its adapters are not .*HF_HUB_OFFLINE.* `hf download me/m"
    ):
        built(kind, model, "me/mine")
    published(tmp_path / "made", model)
    fill(tmp_path / "cache", tmp_path / "made", "me/mine")
    assert built(kind, model, "me/mine").provenance["adapters"] == "me/mine"
    with pytest.raises(DigrapError, match="peft.revision=x: it belongs to peft.start, which is null"):
        built(kind, model, "null", "peft.revision=x")


def test_the_hash_knows_what_a_run_begins_with(kind, model):
    assert len({run_hash(compose(overrides(kind, model, start))) for start in ("null", "a/b", "a/c")}) == 3
