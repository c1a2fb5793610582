"""QLoRA (Dettmers et al. 2023, arXiv 2305.14314): LoRA over a base whose linear layers are held in 4 bits (nf4).

Weights are quantised on the CPU, so that they are the same whatever device trains. The layer that gives the logits, as
all that is not a linear layer, keeps its values.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Sequence

import torch
from torch import nn

from digrap.core.errors import DigrapError
from digrap.models.backbone import Backbone
from digrap.models.lora import check_options, lora
from digrap.models.weights import last_line

PACKAGE = "bitsandbytes"


def check_installed() -> None:
    """Raise DigrapError where bitsandbytes, which the extra `qlora` has, is not installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise _not_usable("is not installed")


def qlora(
    backbone: Backbone,
    r: int,
    alpha: float,
    dropout: float,
    targets: str | Sequence[str],
    double_quant: bool = True,
    start: str | None = None,
    revision: str | None = None,
    base: str | None = None,
) -> Backbone:
    """The backbone with its linear layers in nf4 and float32 adapters beside them: see `lora` for the other options.

    Blocks of 64 weights share a scale; with `double_quant` the scales are held in 8 bits (0.52 bytes a weight in all,
    else 0.56). Raises DigrapError where bitsandbytes is missing, and for what `lora` refuses.
    """
    check_installed()
    if not isinstance(double_quant, bool):
        raise DigrapError(f"peft.double_quant={double_quant}: give true or false")
    check_options(backbone.module, r, alpha, dropout, targets)
    quantize(backbone.module, double_quant, kept=backbone.head)
    return lora(backbone, r, alpha, dropout, targets, start, revision, base)


def quantize(module: nn.Module, double_quant: bool, kept: Sequence[str] = ()) -> None:
    """Put nf4 layers in place of the linear ones, but for those named in `kept`."""
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except Exception as error:  # it looks for libraries of its own as it is imported
        raise _not_usable(f"cannot be imported ({last_line(error)})") from error
    for name, layer in [*module.named_modules()]:
        if type(layer) is not nn.Linear or name in kept:
            continue
        small = Linear4bit(
            layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=layer.weight.dtype,
            device="meta",
        )  # fmt: skip
        small.weight = Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=double_quant, quant_type="nf4", module=small
        )
        if layer.bias is not None:
            small.bias = nn.Parameter(layer.bias.data, requires_grad=False)
        small.support_avx512bf16_for_cpu = False  # on such CPUs evaluation would pack weights anew, which cannot train
        module.set_submodule(name, small.to("cpu"))
    module.is_loaded_in_4bit = True  # as transformers marks it: peft then adds adapters that know the format


def quantized(module: nn.Module) -> bool:
    """Whether `quantize` changed the model."""
    return getattr(module, "is_loaded_in_4bit", False)


def weight_of(layer: nn.Linear) -> torch.Tensor:
    """The float32 values of a linear layer's weight, those of an nf4 one as the layer computes with them."""
    if (state := getattr(layer.weight, "quant_state", None)) is None:
        return layer.weight.detach().float()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, state).float()


def _not_usable(problem: str) -> DigrapError:
    command = shlex.join([sys.executable, "-m", "pip", "install", f"{PACKAGE}>=0.50"])
    return DigrapError(
        f"peft=qlora: {PACKAGE}, which holds weights in 4 bits, {problem}; `{command}` installs it, or give peft=lora"
    )
