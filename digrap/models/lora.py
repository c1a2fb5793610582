"""LoRA (Hu et al. 2021, arXiv 2106.09685) by peft: adapters beside frozen weights, inside the model itself.

Layers get the names lora_A.default and lora_B.default below their own, and their weights base_layer: the model stays
the class that it was, and generates as before.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from torch import nn

from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically
from digrap.models.backbone import Backbone

log = logging.getLogger(__name__)
TARGETS = {  # last parts of the names of the layers that get adapters
    "authors": ("q_proj", "k_proj", "v_proj", "o_proj"),  # SigLIP and CLIP call their last one out_proj
    "card": ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj"),
}
ADAPTER = "default"  # peft's name


def lora(backbone: Backbone, r: int, alpha: float, dropout: float, targets: str | Sequence[str]) -> Backbone:
    """The backbone with adapters ΔW = alpha / r · B A, float32, B at zero; all other weights but those of a fresh head
    are frozen.

    `targets` is a key of `TARGETS` or a list of last parts of layers' names. Layers that get no gradient have no
    adapters. Raises DigrapError for an option out of range, for a list with a name that no layer has, and where no
    layer has any.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import cast_adapter_dtype

    module = backbone.module
    chosen, unused = check_options(module, r, alpha, dropout, targets), unused_layers(module)
    left_out = [name for name in _linear(module) if _within(name, unused)]
    if bare := [name for name in left_out if name.rpartition(".")[2] in chosen]:
        log.info("no adapters in %s, which get no gradient", ", ".join(bare))
    config = LoraConfig(
        r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen, exclude_modules=left_out or None
    )
    inject_adapter_in_model(config, module, ADAPTER)
    cast_adapter_dtype(module, ADAPTER)
    for name, param in module.named_parameters():
        if _within(name, backbone.unanchored):
            param.requires_grad_(True)
    return backbone


def write_adapter(module: nn.Module, folder: Path) -> None:
    """Write the adapters of a model that `lora` changed into `folder`, in peft's own format: adapter_config.json and
    adapter_model.safetensors. `peft.PeftModel.from_pretrained(model, folder)` loads them."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(module, adapter_name=ADAPTER, save_embedding_layers=False)
    tensors = {f"base_model.model.{name}": value.detach().cpu().contiguous() for name, value in found.items()}
    config = copy.copy(module.peft_config[ADAPTER])
    config.inference_mode = True  # as peft saves one: who loads it asks for training
    for key in ("target_modules", "exclude_modules"):  # sets, in random order
        setattr(config, key, sorted(getattr(config, key) or ()) or None)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    content = safetensors.torch.save(tensors, {"format": "pt"})
    write_atomically(folder / "adapter_model.safetensors", lambda file: file.write(content))


def has_adapters(module: nn.Module) -> bool:
    """Whether `lora` changed the model."""
    return ADAPTER in (getattr(module, "peft_config", None) or {})


def unused_layers(module: nn.Module) -> list[str]:
    """Names of the vision layers behind the one whose features the language model gets (LLaVA's last, and the norm that
    follows it): they have no gradient, and processes that average gradients would wait for them for ever."""
    config = getattr(module, "config", None)
    taken = getattr(config, "vision_feature_layer", None)
    if taken is None:
        return []
    count = config.vision_config.num_hidden_layers  # hidden state k is what layer k (1, 2, …) gives
    last = max(k if k >= 0 else count + 1 + k for k in ([taken] if isinstance(taken, int) else taken))
    ends = (".post_layernorm", *(f".layers.{k}" for k in range(last, count)))
    return [name for name, _ in module.named_modules() if "vision_tower" in name and name.endswith(ends)]


def freeze_unused(module: nn.Module) -> None:
    """Freeze the layers of `unused_layers`."""
    for layer in unused_layers(module):
        module.get_submodule(layer).requires_grad_(False)


def check_options(module: nn.Module, r: int, alpha: float, dropout: float, targets: str | Sequence[str]) -> list[str]:
    """The last parts of the names of the layers that get adapters; raises DigrapError as `lora` does."""
    rules = {
        "r": (r, isinstance(r, int) and not isinstance(r, bool) and r >= 1, "a whole number of at least 1"),
        "alpha": (alpha, _is_number(alpha) and alpha > 0, "a number > 0"),
        "dropout": (dropout, _is_number(dropout) and 0 <= dropout < 1, "a number, 0 ≤ dropout < 1"),
    }
    for name, (value, valid, wanted) in rules.items():
        if not valid:
            raise DigrapError(f"peft.{name}={value}: give {wanted}")
    return _chosen(targets, _linear(module))


def _linear(module: nn.Module) -> list[str]:
    """The names of the model's linear layers."""
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _chosen(targets: str | Sequence[str], linear: Sequence[str]) -> list[str]:
    """The last parts of the names of the layers that get adapters; `linear` are the names of the model's layers."""
    has = {name.rpartition(".")[2] for name in linear}
    names = TARGETS.get(targets, (targets,)) if isinstance(targets, str) else tuple(targets)
    found = [name for name in names if name in has]
    if not found or (len(found) < len(names) and not (isinstance(targets, str) and targets in TARGETS)):
        lost = ", ".join(str(name) for name in names if name not in has) or "none"
        raise DigrapError(
            f"peft.targets={targets}: of the names of the backbone's linear layers none is {lost}; give "
            f"{' or '.join(TARGETS)}, or a list of these: {', '.join(sorted(has)[:12]) or 'it has none'}"
        )
    return found


def _within(name: str, places: Sequence[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
