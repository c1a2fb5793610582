"""A model without its adapters' names: W + α / r · B A in one tensor, as transformers itself saves and loads it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from digrap.core.errors import DigrapError
from digrap.models.adapter_files import ADAPTER
from digrap.models.backbone import Backbone
from digrap.models.lora import has_adapters
from digrap.models.qlora import quantized, weight_of


def merge(module: nn.Module) -> nn.Module:
    """The model with its adapters added to the weights, in float32 and then rounded to the weights' type; weights in 4
    bits get the type that they compute in. It changes `module` itself."""
    for name, layer in [*module.named_modules()]:
        base = getattr(layer, "base_layer", layer)
        if not name.endswith(".base_layer") and (base is not layer or _in_4_bits(base)):
            module.set_submodule(name, _plain(base, layer if base is not layer else None))
    for mark, there in (("peft_config", has_adapters(module)), ("is_loaded_in_4bit", quantized(module))):
        if there:
            delattr(module, mark)
    return module


def save_merged(backbone: Backbone, folder: Path) -> None:
    """Write the merged model in transformers' format, and its processor where that has a format.

    Raises DigrapError for a model that is none of transformers.
    """
    if not hasattr(backbone.module, "save_pretrained"):
        raise DigrapError(
            f"form=merged: {type(backbone.module).__name__} is not a model of transformers, whose format this is; "
            "form=run writes all weights"
        )
    module = merge(backbone.module)
    head, embedding = module.get_output_embeddings(), module.get_input_embeddings()
    if head is not None and head.weight is not embedding.weight:  # a probed head: it must not be tied again
        for config in (module.config, module.config.get_text_config()):
            config.tie_word_embeddings = False
    module.save_pretrained(folder)
    processor = backbone.answering.make_processor()  # anew: ours pads on the left
    if hasattr(processor, "save_pretrained"):
        processor.save_pretrained(folder)


def _in_4_bits(layer: nn.Module) -> bool:
    return getattr(getattr(layer, "weight", None), "quant_state", None) is not None


@torch.no_grad()
def _plain(base: nn.Linear, adapter: nn.Module | None) -> nn.Linear:
    """A linear layer with the values of `base`, and of the adapter beside it where there is one."""
    weight, dtype = weight_of(base), base.compute_dtype if _in_4_bits(base) else base.weight.dtype
    if adapter is not None:
        first, second = (getattr(adapter, key)[ADAPTER].weight.float() for key in ("lora_A", "lora_B"))
        weight = weight + adapter.scaling[ADAPTER] * (second @ first)
    plain = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
    plain.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    plain.bias = base.bias
    return plain.train(base.training)
