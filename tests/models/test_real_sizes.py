"""PaliGemma-3B and LLaVA-1.5-7B in their real sizes, without weights: where LoRA's adapters are, how many, and the
memory of a training step."""

from functools import cache

import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    PaliGemmaConfig,
    SiglipVisionConfig,
)

from digrap.core.paths import REPO
from digrap.models.backbone import Backbone
from digrap.models.lora import lora
from digrap.models.lora_layers import freeze_unused


def paligemma_3b():
    vision = SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, image_size=224,
        patch_size=14, vision_use_head=False,
    )  # fmt: skip
    text = GemmaConfig(
        hidden_size=2048, intermediate_size=16384, num_hidden_layers=18, num_attention_heads=8, num_key_value_heads=1,
        head_dim=256, vocab_size=257216,
    )  # fmt: skip
    return PaliGemmaConfig(vision_config=vision, text_config=text, projection_dim=2048, image_token_index=257152)


def llava_7b():
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32064
    )
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=32000, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=576, tie_word_embeddings=False,
    )  # fmt: skip


CONFIGS = {"paligemma_3b": paligemma_3b, "llava_7b": llava_7b}


def without_weights(name):
    with torch.device("meta"):
        module = AutoModelForImageTextToText.from_config(CONFIGS[name](), dtype=torch.bfloat16)
    freeze_unused(module)
    return Backbone(module, None, head=("lm_head",))


@cache
def adapted(name, targets):
    """{layer: [its two factors]} of the adapters at r 8."""
    backbone = without_weights(name)
    with torch.device("meta"):
        module = lora(backbone, r=8, alpha=16, dropout=0.05, targets=targets).module
    found = {}
    for key, param in module.named_parameters():
        if param.requires_grad:
            layer, _, factor = key.partition(".lora_")
            assert factor in ("A.default.weight", "B.default.weight") and param.dtype == torch.float32
            found.setdefault(layer, []).append(param)
    return found


@pytest.mark.parametrize(
    ("name", "targets", "modules", "vision"),
    [
        ("paligemma_3b", "authors", 153, 81),
        ("paligemma_3b", "card", 180, 108),
        ("llava_7b", "authors", 200 - 3, 72 - 3),
        ("llava_7b", "card", 224 - 4, 96 - 4),
    ],
)
def test_layers_with_adapters(name, targets, modules, vision):
    """Of LLaVA's 24 vision layers the last gets no gradient: it is left out."""
    found = adapted(name, targets)
    assert len(found) == modules
    assert len([layer for layer in found if "vision_tower" in layer]) == vision
    assert not [layer for layer in found if "llava" in name and ".layers.23." in layer and "vision_tower" in layer]


def test_paligemma_trains_as_many_numbers_as_the_authors():
    assert sum(param.numel() for pair in adapted("paligemma_3b", "authors").values() for param in pair) == 3_336_192


@pytest.mark.parametrize(("name", "numbers"), [("paligemma_3b", 2_923_466_480), ("llava_7b", 7_063_427_072)])
def test_full_fine_tuning_trains_all_but_what_has_no_gradient(name, numbers):
    module = without_weights(name).module
    frozen = [key for key, param in module.named_parameters() if not param.requires_grad]
    assert all("vision_tower" in key and (".layers.23." in key or "post_layernorm" in key) for key in frozen)
    assert bool(frozen) == (name == "llava_7b")
    assert sum(param.numel() for param in module.parameters()) == numbers


def kept_for_backward(module, inputs):
    """Bytes that a forward pass keeps, without the module's own tensors; attention by plain operations, which keeps
    its weights too."""
    own = {value.untyped_storage()._cdata for value in (*module.parameters(), *module.buffers())}
    kept = {}

    def keep(value):
        storage = value.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no address is used again
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), torch.device("meta"):
        module.train()(**inputs)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch", "pictures", "tokens"),
    [("paligemma_3b", 16, 224, 256), ("llava_7b", 16, 336, 576), ("llava_7b", 6, 336, 576)],
)
def test_the_documented_memory_of_a_step(monkeypatch, name, batch, pictures, tokens):
    """Checks of values, which tensors without any cannot pass, are left out."""
    monkeypatch.setattr("torch._check_tensor_all_with", lambda *arguments: None)
    monkeypatch.setattr("transformers.masking_utils.fast_all", lambda mask: False)
    backbone, length = without_weights(name), tokens + 34
    with torch.device("meta"):
        module = lora(backbone, r=8, alpha=16, dropout=0.05, targets="authors").module
        whole = torch.zeros(batch, length, dtype=torch.long)
        inputs = {"input_ids": whole, "attention_mask": whole, "labels": whole}
        inputs |= {"token_type_ids": whole} if name == "paligemma_3b" else {}
        inputs["pixel_values"] = torch.zeros(batch, 3, pictures, pictures, dtype=torch.bfloat16)
    weights = sum(value.nbytes for value in backbone.module.parameters() if value.dtype == torch.bfloat16) / 1e9
    activations = kept_for_backward(module, inputs) / 1e9
    logits = 4 * batch * length * module.get_output_embeddings().weight.shape[0] / 1e9
    row = f"| `{name}` | {batch} | {weights:.1f} GB | {activations:.0f} GB | {logits:.1f} GB |"
    assert row in (REPO / "docs" / "vlm.md").read_text(encoding="utf-8"), row
