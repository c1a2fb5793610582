"""Layer-wise learning rates: lr · decay ^ (layers between a parameter and the output)."""

from __future__ import annotations

from typing import Any

from torch import nn

from digrap.models.depth import below_output


def with_layer_decay(groups: list[dict[str, Any]], module: nn.Module, decay: float, lr: float) -> list[dict[str, Any]]:
    """Split groups of named parameters by depth, and give each part its own learning rate; the nearest to the output
    come first. A `decay` of 1 leaves them as they are. Raises DigrapError for a model without layers."""
    if decay == 1:
        return groups
    below, result = below_output(module), []
    for group in groups:
        for depth in sorted({below[name] for name, _ in group["params"]}):
            params = [(name, param) for name, param in group["params"] if below[name] == depth]
            result.append({**group, "params": params, "lr": lr * decay**depth})
    return result
