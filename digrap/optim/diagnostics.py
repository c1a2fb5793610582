"""What DiGraP did, read from its state: ω by parameter, for logs and plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from digrap.optim.digrap import DiGraP


@torch.no_grad()
def omega_report(optimizer: DiGraP) -> dict[str, dict[str, float]]:
    """For each anchored parameter that has made a step: `omega`, the projection strength; `removed`, the share of the
    gradient's energy ‖g‖² that its last step projected out; `conflict`, the share of its steps with <g, δ> < 0."""
    rows, values = [], []
    names = optimizer.names()
    for group in optimizer.param_groups:
        for param in group["params"]:
            state = optimizer.state.get(param, {})
            if "removed" not in state or not (steps := float(state["step"])):
                continue
            rows.append((names[param], steps, group["omega"]))
            omega = state.get("omega", state["removed"])
            values.append(torch.stack([omega, state["removed"], state["conflicts"]]))
    return {
        name: {"omega": omega if fixed is None else fixed, "removed": removed, "conflict": conflicts / steps}
        for (name, steps, fixed), (omega, removed, conflicts) in zip(rows, _to_lists(values), strict=True)
    }


def _to_lists(rows: list[Tensor]) -> list[list[float]]:
    """Rows of numbers, perhaps of several dtypes and devices, read with one wait."""
    if not rows:
        return []
    dtype = torch.float64 if any(row.dtype == torch.float64 for row in rows) else torch.float32
    return torch.stack([row.to(rows[0].device, dtype) for row in rows]).tolist()
