"""The state of the optimizers between steps: loading checkpoints, moved and replaced parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from digrap.optim.tensors import scalar_dtype

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer


@contextmanager
def restored(optimizer: AnchoredOptimizer) -> Iterator[None]:
    """Around torch's load_state_dict: keeps the precision of per-tensor numbers, which torch would cast to the
    parameter's dtype, and moves `step` back to the CPU where a wrapper moved the whole state to the device."""
    seen: list[dict[str, Any]] = []  # the state dict after the pre-hooks
    handle = optimizer.register_load_state_dict_pre_hook(lambda _, given: seen.append(given))
    try:
        yield
    finally:
        handle.remove()
    saved = seen[-1]
    ids = (i for group in saved["param_groups"] for i in group["params"])
    params = (param for group in optimizer.param_groups for param in group["params"])
    for group in optimizer.param_groups:
        _complete(optimizer, group)
    for i, param in zip(ids, params, strict=True):
        state = optimizer.state[param]
        if "step" in state:
            state["step"] = state["step"].cpu()
        for key in optimizer.scalars:
            if key in (given := saved["state"].get(i, {})):
                state[key] = given[key].detach().to(param.device, scalar_dtype(param), copy=True)


def _complete(optimizer: AnchoredOptimizer, group: dict[str, Any]) -> None:
    """Add the options and state that a checkpoint of another optimizer (such as torch's AdamW) or of an older version
    lacks: default options, and anchors at the present values."""
    for key, value in optimizer.defaults.items():
        if key != "differentiable":  # torch adds it to the defaults of a loaded optimizer
            group.setdefault(key, value)
    for param in group["params"]:
        wanted = optimizer.new_state(param.new_empty(0), group)  # only its keys are used
        if not wanted.keys() <= optimizer.state[param].keys():
            optimizer.state[param] = optimizer.new_state(param, group) | optimizer.state[param]


def ready_state(optimizer: AnchoredOptimizer, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
    """The parameter's state, moved to its device. A parameter without state (a wrapper replaced the groups' tensors) is
    anchored at its present value."""
    state = optimizer.state[param]
    if "step" not in state:
        state.update(optimizer.new_state(param, group))
    probe = next((value for key, value in state.items() if key != "step"), None)
    if probe is not None and probe.device != param.device:  # the model was moved after construction
        for key, value in state.items():
            if key != "step":
                state[key] = value.to(param.device)
    return state


def drop_vanished(optimizer: AnchoredOptimizer) -> None:
    """Delete the state of parameters that are in no group any more."""
    present = {param for group in optimizer.param_groups for param in group["params"]}
    for param in [param for param in optimizer.state if param not in present]:
        del optimizer.state[param]
