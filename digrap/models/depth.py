"""How deep in its model each parameter lies: for learning rates that fall with the distance from the output.

As in BEiT and timm: what is before a tower's layers (embeddings) has depth 0, its layers 1, 2, …, and what follows them
(norms, projector, head) is as deep as the model is. Each tower counts for itself, as in EVA-CLIP and BLIP-2: a vision
tower's last layer is as near the output as the language model's.
"""

from __future__ import annotations

import re

from torch import nn

from digrap.core.errors import DigrapError

LISTS = ("layers", "layer", "blocks", "resblocks")
BETWEEN = ("encoder", "transformer")  # between a tower's name and its list of layers
BEFORE = re.compile(r".*embed.*|pre_layr?norm|ln_pre|conv1|cls_token")  # what of a tower comes before its layers


def below_output(module: nn.Module) -> dict[str, int]:
    """{parameter: how many layers of its tower lie between it and the output, itself included}: 0 for a head.

    timm's models say it themselves. Raises DigrapError for a model without layers.
    """
    names = [name for name, _ in module.named_parameters()]
    if hasattr(module, "group_matcher"):
        from timm.models import group_parameters

        depth = group_parameters(module, module.group_matcher(coarse=False), reverse=True)
        last = max(depth.values())
        return {name: last - depth.get(name, last) for name in names}
    layers = {name: place for name in names if (place := _layer(name)) is not None}
    counts: dict[str, int] = {}
    for tower, k in layers.values():
        counts[tower] = max(counts.get(tower, 0), k + 1)
    if not counts:
        raise DigrapError(
            f"trainer.layer_decay: {type(module).__name__} has no sequence of layers (layers.0, blocks.0, …); give "
            "trainer.layer_decay=1.0, or a transformer as backbone"
        )
    return {
        name: counts[layers[name][0]] - layers[name][1] if name in layers else _outside(name, counts) for name in names
    }


def _layer(name: str) -> tuple[str, int] | None:
    """(tower, number) of the outermost layer that a parameter is in; None where it is in none."""
    parts = name.split(".")
    for place, (part, following) in enumerate(zip(parts, parts[1:], strict=False)):
        if part in LISTS and following.isdigit():
            inner = place - (place > 0 and parts[place - 1] in BETWEEN)
            return "".join(f"{part}." for part in parts[:inner]), int(following)
    return None


def _outside(name: str, counts: dict[str, int]) -> int:
    """The depth of a parameter in no layer: below all of its tower's where it comes before them, else none."""
    tower = next((tower for tower in counts if name.startswith(tower)), None)
    first = name.removeprefix(tower or "").partition(".")[0]
    return counts[tower] + 1 if tower is not None and BEFORE.fullmatch(first) else 0
