"""LoRA (Hu et al. 2021, arXiv 2106.09685) by peft: adapters beside frozen weights, inside the model itself.

Layers get the names lora_A.default and lora_B.default below their own, and their weights base_layer: the model stays
the class that it was, and generates as before.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from torch import nn

from digrap.core.errors import DigrapError
from digrap.models.adapter_files import ADAPTER, Published, load_adapters
from digrap.models.backbone import Backbone
from digrap.models.lora_layers import linear_layers, target_modules, unused_layers, within

log = logging.getLogger(__name__)
# peft imports bitsandbytes where it is installed, which then warns of a kernel that neither lora nor qlora uses.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def lora(
    backbone: Backbone,
    r: int,
    alpha: float,
    dropout: float,
    targets: str | Sequence[str],
    start: str | None = None,
    revision: str | None = None,
    base: str | None = None,
) -> Backbone:
    """The backbone with adapters ΔW = alpha / r · B A, float32, B at zero; all other weights but those of a fresh head
    are frozen.

    `targets`: see `digrap.models.lora_layers.target_modules`; layers that get no gradient have no adapters. `start`
    names adapters in peft's format to begin with, a folder or a repository of the hub at `revision`; `base` is what
    they call the model that they were trained on, where the backbone goes by another name. A fused layer for q, k and
    v gets one pair of adapters, which results say. Raises DigrapError for an
    option out of range, where no layer is meant, and for adapters that do not fit model or options.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import cast_adapter_dtype

    published = Published.of(start, revision, base)
    module = backbone.module
    if hasattr(module, "prepare_targets"):
        module.prepare_targets(targets)
    chosen, unused = check_options(module, r, alpha, dropout, targets), unused_layers(module)
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen)
    left_out = [name for name in linear_layers(module) if within(name, unused)]
    named_alike = [] if isinstance(chosen, str) else _not_linear(module, chosen)
    if (left_out or named_alike) and not isinstance(chosen, str):
        config.exclude_modules = left_out + named_alike
        if bare := [name for name in left_out if name.rpartition(".")[2] in chosen]:
            log.info("no adapters in %s, which get no gradient", ", ".join(bare))
    inject_adapter_in_model(config, module, ADAPTER)
    cast_adapter_dtype(module, ADAPTER)
    if fused := [name for name in module.state_dict() if name.endswith(f".qkv.lora_A.{ADAPTER}.weight")]:
        backbone.remarks["adapters"] = f"{len(fused)} fused layers have one pair of rank {r} for q, k and v together"
    if published:
        load_adapters(backbone, published, targets)
    for name, param in module.named_parameters():
        if within(name, backbone.unanchored):
            param.requires_grad_(True)
    return backbone


def has_adapters(module: nn.Module) -> bool:
    """Whether `lora` changed the model."""
    return ADAPTER in (getattr(module, "peft_config", None) or {})


def check_options(
    module: nn.Module, r: int, alpha: float, dropout: float, targets: str | Sequence[str]
) -> list[str] | str:
    """The layers that get adapters, as peft is told of them; raises DigrapError as `lora` does."""
    rules = {
        "r": (r, isinstance(r, int) and not isinstance(r, bool) and r >= 1, "a whole number of at least 1"),
        "alpha": (alpha, _is_number(alpha) and alpha > 0, "a number > 0"),
        "dropout": (dropout, _is_number(dropout) and 0 <= dropout < 1, "a number, 0 ≤ dropout < 1"),
    }
    for name, (value, valid, wanted) in rules.items():
        if not valid:
            raise DigrapError(f"peft.{name}={value}: give {wanted}")
    return target_modules(module, targets)


def _not_linear(module: nn.Module, names: Sequence[str]) -> list[str]:
    """Layers of other kinds that have one of these last names, such as a convolution: peft would adapt them too."""
    layers = [(name, layer) for name, layer in module.named_modules() if name.rpartition(".")[2] in names]
    return [name for name, layer in layers if isinstance(layer, (nn.Conv2d, nn.Embedding))]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
