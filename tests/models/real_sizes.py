"""PaliGemma-3B and LLaVA-1.5-7B in their real sizes, without weights, and what their forward pass keeps."""

from functools import cache

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

from digrap.models.backbone import Backbone
from digrap.models.lora import lora
from digrap.models.lora_layers import freeze_unused
from digrap.models.vlm import VLMAnswering

TOKENS = {"paligemma_3b": 256, "llava_7b": 576}  # of a picture


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


def without_weights(name, layers=None):
    """The model, or one with so many vision and language layers."""
    config = CONFIGS[name]()
    if layers:
        config.vision_config.num_hidden_layers, config.text_config.num_hidden_layers = layers
    with torch.device("meta"):
        module = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
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


def with_adapters(backbone, targets="authors"):
    with torch.device("meta"):
        return lora(backbone, r=8, alpha=16, dropout=0.05, targets=targets).module


def kept_for_backward(module, name, batch, length, answer, monkeypatch):
    """Bytes that the loss of `batch` examples keeps, without the module's own tensors; attention by plain operations,
    which keeps its weights too. Checks of values, which tensors without any cannot pass, are left out."""
    monkeypatch.setattr("torch._check_tensor_all_with", lambda *arguments: None)
    monkeypatch.setattr("transformers.masking_utils.fast_all", lambda mask: False)
    own = {value.untyped_storage()._cdata for value in (*module.parameters(), *module.buffers())}
    kept = {}

    def keep(value):
        storage = value.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no address is used again
        return value

    size = CONFIGS[name]().vision_config.image_size
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        whole = torch.zeros(batch, length, dtype=torch.long)
        inputs = {"input_ids": whole, "attention_mask": whole, "labels": whole[:, :answer]}
        inputs |= {"token_type_ids": whole} if name == "paligemma_3b" else {}
        inputs["pixel_values"] = torch.zeros(batch, 3, size, size, dtype=torch.bfloat16)
        VLMAnswering(None, "{question}", False).loss(module.train(), inputs)
    return sum(storage.nbytes() for storage in kept.values())
