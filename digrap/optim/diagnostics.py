"""Diagnostics for logs and plots: ω by parameter (DiGraP), and the distance of every parameter from its anchor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from digrap.optim.base import AnchoredOptimizer
from digrap.optim.shards import whole

CHUNK = 2**22  # elements converted to float64 at a time: 32 MB


@torch.no_grad()
def omega_report(optimizer: AnchoredOptimizer) -> dict[str, dict[str, float]]:
    """{parameter name: {`omega`, `removed`, `conflict`}} of a DiGraP optimizer.

    `omega` is the projection strength; `removed` the share of the gradient's energy ‖g‖² that the last step projected
    out; `conflict` the share of steps with <g, δ> < 0. Parameters without anchor or without a step are left out. The
    host waits for the device once.
    """
    rows, values = [], []
    names = optimizer.names()
    for group in optimizer.param_groups:
        for param in group["params"]:
            state = optimizer.state.get(param, {})
            if "removed" not in state:
                continue
            rows.append((names[param], group["omega"]))
            removed = state["removed"]
            values.append(
                torch.stack([state["step"].to(removed), state.get("omega", removed), removed, state["conflicts"]])
            )
    return {
        name: {"omega": omega if fixed is None else fixed, "removed": removed, "conflict": conflicts / steps}
        for (name, fixed), (steps, omega, removed, conflicts) in zip(rows, _to_lists(values), strict=True)
        if steps
    }


def _to_lists(rows: list[Tensor]) -> list[list[float]]:
    """Rows of numbers, possibly of several dtypes and devices, as lists; the host waits once."""
    if not rows:
        return []
    dtype = torch.float64 if any(row.dtype == torch.float64 for row in rows) else torch.float32
    return torch.stack([row.to(rows[0].device, dtype) for row in rows]).tolist()


@torch.no_grad()
def displacement_report(
    named_params: Iterable[tuple[str, Tensor]], anchors: Mapping[str, Tensor] | None
) -> dict[str, dict[str, float | None]]:
    """{parameter name: {`norm`: ‖θ − θ0‖₂, `relative`: ‖θ − θ0‖₂ / ‖θ0‖₂}}, for parameters under any optimizer.

    Args:
        named_params: names and parameters θ, as from `module.named_parameters()`; any real dtypes and devices.
        anchors: θ0 by name; any real dtypes and devices. A missing name, or None for all of them, means θ0 = 0
            (adapters). Where ‖θ0‖ = 0, `relative` is None.

    Changes nothing in place and reads each device once. Differences and norms are in float64 (float32 on MPS, which
    has no float64): float32 norms of large tensors are off by up to two percent. DTensors: all ranks must call it.

    Raises:
        ValueError: an anchor whose shape differs from its parameter's.
    """
    result: dict[str, dict[str, float | None]] = {}
    pending: dict[torch.device, tuple[list[str], list[Tensor]]] = {}
    for name, param in named_params:
        anchor = None if anchors is None else anchors.get(name)
        if anchor is not None and anchor.shape != param.shape:
            raise ValueError(f"anchor of {name}: shape {tuple(anchor.shape)}, but its parameter has {(*param.shape,)}")
        result[name] = {}  # in the order of the parameters
        names, norms = pending.setdefault(param.device, ([], []))
        names.append(name)
        norms.append(_displacement_norms(whole(param.detach()), None if anchor is None else whole(anchor.detach())))
    for names, norms in pending.values():
        for name, (norm, start) in zip(names, torch.stack(norms).tolist(), strict=True):
            result[name] = {"norm": norm, "relative": norm / start if start else None}
    return result


def _displacement_norms(param: Tensor, anchor: Tensor | None) -> Tensor:
    """‖θ − θ0‖₂ and ‖θ0‖₂ on the parameter's device: shape (2,)."""
    dtype = torch.float32 if param.device.type == "mps" else torch.float64
    zero = torch.zeros((), dtype=dtype, device=param.device)
    parts = param.flatten().split(CHUNK)
    origins = [zero] * len(parts) if anchor is None else anchor.flatten().split(CHUNK)
    norms = []
    for part, origin in zip(parts, origins, strict=True):
        origin = origin.to(param.device, dtype)
        norms.append(torch.stack([torch.linalg.vector_norm(x) for x in (part.to(dtype) - origin, origin)]))
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)
