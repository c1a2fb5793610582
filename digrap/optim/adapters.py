"""The anchors of parameters that peft adds to a model: which kind of adapter has which.

LoRA's factors          zero: the pre-trained model is where B A = 0, and that is what all rules pull towards. A rule
                        with a bound from the first step on (FTP) would set both to almost nothing, where neither has a
                        gradient: under it the factor that starts at random has its start as anchor.
LoRA's factors under an initialisation of another kind (pissa, corda, olora, loftq, orthogonal, lora_ga, mica)
                        init: the model is the pre-trained one where they start, not at zero.
new heads               none: those that peft adds for a task (classifier, score, qa_outputs).
soft prompts            init where they start from a text or from words, none where they start at random; the networks
                        that make prompts or prefixes none.
everything else         init: DoRA's magnitudes, IA3's vectors, AdaLoRA, copied modules_to_save, rows of an embedding,
                        biases and weights of the model itself. peft's adapters change nothing where they start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

ZERO, NEW = {"anchor": "zero"}, {"anchor": "none"}
RANDOM = ZERO | {"bounded_anchor": "init"}  # the anchor under a rule with `bounded = True`
STARTS_AT_NOTHING = (
    True,
    False,
    "gaussian",
    "eva",
)  # values of init_lora_weights under which B A = 0 is the pre-trained model
TASK_HEADS = {  # what peft adds to modules_to_save for a task, as such heads are new
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}


def adapter_options(model: nn.Module) -> dict[Tensor, dict[str, Any]]:
    """{parameter: options of its group} for every parameter of a model with peft adapters whose anchor is not "init".

    Raises ValueError without peft and for a model without adapters.
    """
    try:
        import peft  # noqa: F401
    except ImportError:
        raise ValueError("param_groups: peft=True needs peft; python -m pip install peft") from None
    hosts = [module for module in model.modules() if getattr(module, "peft_config", None)]
    if not hosts:
        raise ValueError("param_groups: peft=True, but the model has no adapters; add them first, with get_peft_model")
    return {param: options for host in hosts for param, options in _of_host(host, host.peft_config)}


def _of_host(host: nn.Module, configs: dict[str, Any]) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """The parameters of all adapters in a module with `peft_config` = {adapter: config}."""
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    for name, module in host.named_modules():
        for adapter, config in configs.items():
            if isinstance(module, LoraLayer) and config.peft_type == "LORA":
                yield from _factors(module, adapter, config)
            heads = TASK_HEADS.get(config.task_type, ())
            if isinstance(module, ModulesToSaveWrapper) and name.rpartition(".")[2] in heads:
                yield from ((param, NEW) for param in module.modules_to_save.parameters())
    for adapter, encoder in getattr(host, "prompt_encoder", {}).items():
        yield from _prompts(encoder, configs[adapter])


def _factors(layer: nn.Module, adapter: str, config: Any) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """LoRA's A and B of one layer; B starts at zero, in embeddings A does."""
    if config.init_lora_weights not in STARTS_AT_NOTHING:
        return
    for key, options in {
        "lora_A": RANDOM, "lora_B": ZERO, "lora_embedding_A": ZERO, "lora_embedding_B": RANDOM,
    }.items():  # fmt: skip
        factors = getattr(layer, key)
        if adapter in factors:
            factor = factors[adapter]
            yield from ((param, options) for param in ([factor] if isinstance(factor, Tensor) else factor.parameters()))


def _prompts(encoder: nn.Module, config: Any) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """The parameters of a prompt encoder that start at random."""
    start = getattr(config, "prompt_tuning_init", None) or getattr(config, "cpt_prompt_init", None) or "RANDOM"
    for name, param in encoder.named_parameters():
        if start == "RANDOM" or not name.startswith("embedding."):
            yield param, NEW
