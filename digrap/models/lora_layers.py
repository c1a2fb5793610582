"""Which layers of a model get adapters, and which get no gradient at all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from digrap.core.errors import DigrapError

QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
LANGUAGE = "language"  # the part of a vision-language model is called language_model
TARGETS = {  # last parts of the names of the layers that get adapters
    "authors": QKVO,  # SigLIP and CLIP call their last one out_proj
    "card": (*QKVO, "out_proj"),
    LANGUAGE: QKVO,
}


def target_modules(module: nn.Module, targets: str | Sequence[str]) -> list[str] | str:
    """What peft is told: last parts of the names of the layers that get adapters, or an expression for whole names.

    `targets` is a key of `TARGETS`, or of the model's own `lora_targets` {key: expression}, or a list of last parts.
    Raises DigrapError for a list with a name that no linear layer has, and where no layer has any.
    """
    if (own := _own_targets(module, targets)) is not None:
        return own
    places = linear_layers(module)
    if targets == LANGUAGE and not any(map(_of_language, places)):
        raise DigrapError(
            f"peft.targets={LANGUAGE}: the backbone has no part called language_model; give authors, card or a list"
        )
    names = TARGETS.get(targets, (targets,)) if isinstance(targets, str) else tuple(targets)
    has = {name.rpartition(".")[2] for name in places}
    found = [name for name in names if name in has]
    if not found or (len(found) < len(names) and not (isinstance(targets, str) and targets in TARGETS)):
        known = getattr(module, "lora_targets", TARGETS)
        lost = ", ".join(str(name) for name in names if name not in has) or "none"
        raise DigrapError(
            f"peft.targets={targets}: no linear layer of the backbone is called {lost}; give {' or '.join(known)}, or "
            f"a list of these: {', '.join(sorted(has)[:12]) or 'it has none'}"
        )
    return rf".*\blanguage_model\..*\.({'|'.join(found)})" if targets == LANGUAGE else found


def target_layers(module: nn.Module, targets: str | Sequence[str]) -> set[str]:
    """The names of the layers that get adapters; for `targets` see `target_modules`."""
    last = TARGETS.get(targets, (targets,)) if isinstance(targets, str) else tuple(targets)
    unused = unused_layers(module)
    if (own := _own_targets(module, targets)) is not None:
        return {name for name in linear_layers(module) if re.fullmatch(own, name)}
    return {
        name
        for name in linear_layers(module)
        if name.rpartition(".")[2] in last and not within(name, unused) and (targets != LANGUAGE or _of_language(name))
    }


def linear_layers(module: nn.Module) -> list[str]:
    """The names of the model's linear layers, as they are without adapters."""
    names = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    return [name.removesuffix(".base_layer") for name in names if "lora_" not in name]


def unused_layers(module: nn.Module) -> list[str]:
    """Names of the vision layers behind the one whose features the language model gets (LLaVA's last, and the norm that
    follows it): they have no gradient, and processes that average gradients would wait for them for ever. Of a model
    that says so itself, those in its `without_gradient`."""
    if own := getattr(module, "without_gradient", ()):
        return list(own)
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


def within(name: str, places: Sequence[str]) -> bool:
    """Whether a name is one of `places` or lies below one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _own_targets(module: nn.Module, targets: str | Sequence[str]) -> str | None:
    """The expression that the model itself has for `targets`, where it has one."""
    return getattr(module, "lora_targets", {}).get(targets) if isinstance(targets, str) else None


def _of_language(name: str) -> bool:
    return "language_model" in name.split(".")
