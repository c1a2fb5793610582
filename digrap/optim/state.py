"""The state of the optimizers between steps: when it is made, loading checkpoints, moved and replaced parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from digrap.optim.options import merged
from digrap.optim.shards import check_replaced
from digrap.optim.tensors import plain, scalar_dtype

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer

MOMENTS = {"exp_avg", "exp_avg_sq", "momentum_buffer"}
OWN_DTYPE = MOMENTS | {"anchor"}  # what is in the parameter's dtype under every rule


def trains(param: Tensor) -> bool:
    """Whether the parameter's anchor can be taken now: it is not frozen, and not a lazy module's without shape."""
    return param.requires_grad and not is_lazy(param)


def step_count(param: Tensor, group: dict[str, Any], value: float = 0.0) -> Tensor:
    """`step` as a 0-dim float32 tensor: on the CPU, so that reading it waits for nothing, or on the parameter's device
    with capturable=True."""
    return torch.full((), value, dtype=torch.float32, device=param.device if group["capturable"] else "cpu")


def start_state(optimizer: AnchoredOptimizer, group: dict[str, Any], given: list[Tensor | None]) -> None:
    """Make the state of a new group's parameters. A frozen one has none before its first gradient, except for the
    anchor that it was given."""
    for param, anchor in zip(group["params"], given, strict=True):
        if trains(param):
            optimizer.state[param] = optimizer.new_state(param, group, anchor)
            if anchor is None and group["anchor"] == "init":
                optimizer.writes[param] = _version(param)
        elif anchor is not None:
            optimizer.state[param] = {"anchor": anchor.detach().to(param.device, copy=True)}
        elif not is_lazy(param):
            optimizer.writes[param] = _version(param)


def fresh_state(
    optimizer: AnchoredOptimizer, param: Tensor, group: dict[str, Any], anchor: Tensor | None
) -> dict[str, Any]:
    """All of a parameter's state before its first step, around `anchor` or its present value.

    Raises RuntimeError where an anchor was given and is lost, and warns where the present value is not the one that the
    parameter had when it was handed over.
    """
    if anchor is None and group["anchor"] == "given":
        raise RuntimeError(
            f"the anchor given for parameter {optimizer.names()[param]} is lost, because a wrapper put another tensor "
            "into the optimizer's groups; create the optimizer after wrapping the model, from its present parameters"
        )
    version = optimizer.writes.pop(param, None)
    if anchor is None and group["anchor"] == "init" and version not in (None, _version(param)):
        warnings.warn(
            f"parameter {optimizer.names()[param]} was frozen when the optimizer was created and has changed since; it "
            "is anchored at its present value. To anchor it elsewhere, give its group anchor=[…]",
            stacklevel=2,
        )
    return optimizer.new_state(param, group, anchor)


def warn_of_writes(optimizer: AnchoredOptimizer, group: dict[str, Any]) -> None:
    """Warn, at their first step, of parameters that are no longer what they were when their anchors were taken."""
    changed = []
    for param in group["params"]:
        state = optimizer.state.get(param, {})
        if param.grad is None or "step" not in state:
            continue
        version = optimizer.writes.pop(param, None)
        if version not in (None, _version(param)) and plain(param) and "anchor" in state:
            anchor = state["anchor"]
            if anchor.shape == param.shape and not torch.equal(anchor.to(param), param):
                changed.append(param)
    if changed:
        names, more = optimizer.names(), f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        warnings.warn(
            f"{type(optimizer).__name__}: parameter {names[changed[0]]}{more} was changed after the optimizer was "
            "created, but stays anchored at its earlier values; if those were not the pre-trained ones, load the "
            "weights first, then create the optimizer",
            stacklevel=2,
        )


def _version(param: Tensor) -> int | None:
    """The number of times that the parameter was written to in place; None where torch does not count."""
    return None if param.is_inference() else param._version


@contextmanager
def restored(optimizer: AnchoredOptimizer) -> Iterator[None]:
    """Around torch's load_state_dict: adds what the state dict lacks, keeps the precision of per-tensor numbers, which
    torch would cast to the parameter's dtype, and moves `step` back to its place where a wrapper moved the whole state
    to the device."""
    seen: list[dict[str, Any]] = []

    def complete(_: Any, given: dict[str, Any]) -> dict[str, Any]:
        seen.append(completed(optimizer, given))
        return seen[-1]

    handle = optimizer.register_load_state_dict_pre_hook(complete)  # after the pre-hooks of others
    try:
        yield
    finally:
        handle.remove()
    for group, saved in zip(optimizer.param_groups, seen[-1]["param_groups"], strict=True):
        for param, i in zip(group["params"], saved["params"], strict=True):
            state, given = optimizer.state.get(param, {}), seen[-1]["state"].get(i, {})
            if "step" in state:
                optimizer.writes.pop(param, None)  # the anchors are the saved ones
                state["step"] = state["step"].to(step_count(param, group))
            for key in given.keys() & set(optimizer.scalars):
                state[key] = torch.as_tensor(given[key]).detach().to(param.device, scalar_dtype(param), copy=True)


def completed(optimizer: AnchoredOptimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """The state dict with what it lacks because another optimizer (torch's AdamW) or an older version saved it: options
    of the optimizer's own groups, and its own anchors. Raises ValueError for options that no rule supports."""
    drop_vanished(optimizer)
    groups, states = [], dict(saved["state"])
    for own, given in zip(optimizer.param_groups, saved["param_groups"], strict=False):  # torch refuses other lengths
        groups.append(group := merged(optimizer, own, given))
        for param, i in zip(own["params"], given["params"], strict=False):
            if state := _completed_state(optimizer, param, group, states.get(i, {})):
                states[i] = state
    return saved | {"state": states, "param_groups": groups + saved["param_groups"][len(groups) :]}


def _completed_state(
    optimizer: AnchoredOptimizer, param: Tensor, group: dict[str, Any], saved: dict[str, Any]
) -> dict[str, Any]:
    """A parameter's saved state with the entries that it lacks; a frozen parameter without saved state has none."""
    own = optimizer.state.get(param, {})
    state = {key: value for key, value in saved.items() if value is not None}  # SGD's buffer before its first step
    if "anchor" in own and group["anchor"] in ("init", "given"):
        state.setdefault("anchor", own["anchor"])
    if state.keys() <= {"anchor"} and not trains(param):
        return state
    wanted = optimizer.new_state(param.new_empty(0), group).keys()  # of the tensors only the names are used
    if not wanted <= state.keys():
        state = fresh_state(optimizer, param, group, state.get("anchor")) | state
    return {key: value for key, value in state.items() if key not in MOMENTS - wanted}


def ready_state(optimizer: AnchoredOptimizer, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
    """The state of a parameter that has a gradient, on its device and in its dtype.

    Makes the state of one that was frozen, or that a wrapper put in another's place, with the present value as anchor.
    Raises RuntimeError for one whose shape has changed.
    """
    state = optimizer.state[param]
    if "step" not in state:
        drop_vanished(optimizer)
        state.update(fresh_state(optimizer, param, group, state.get("anchor")))
    elif group["base"] == "sgd" and group["momentum"] and "momentum_buffer" not in state:  # a scheduler has set it
        state["momentum_buffer"] = torch.zeros_like(param, memory_format=torch.preserve_format)
    probe = next((key for key in state if key != "step"), None)
    if probe is None:
        return state
    value = state[probe]
    if probe not in optimizer.scalars and value.shape != param.shape:
        _check_shape(optimizer, param, group, probe)
    cast = probe in OWN_DTYPE and value.dtype != param.dtype
    if cast or value.device != param.device:  # the model was cast or moved after construction
        _follow(optimizer, param, group, value.dtype)
    return state


def _follow(optimizer: AnchoredOptimizer, param: Tensor, group: dict[str, Any], old: torch.dtype) -> None:
    """Move a parameter's state to its device, and what was in its `old` dtype to its dtype."""
    state = optimizer.state[param]
    for key, value in state.items():
        if key == "step":
            state[key] = value.to(step_count(param, group).device)
        elif key in optimizer.scalars:
            state[key] = value.to(param.device, scalar_dtype(param))
        else:
            state[key] = value.to(param.device, param.dtype if value.dtype == old else value.dtype)


def _check_shape(optimizer: AnchoredOptimizer, param: Tensor, group: dict[str, Any], key: str) -> None:
    """Raise RuntimeError if the state entry `key` should have the parameter's shape, and has another."""
    fresh, old = optimizer.new_state(param, group).get(key), tuple(optimizer.state[param][key].shape)
    if fresh is not None and fresh.shape == param.shape:
        raise RuntimeError(
            f"parameter {optimizer.names()[param]} has shape {tuple(param.shape)}, but its state in the optimizer has "
            f"{old}: it was resized, or the state is from another model; create a new optimizer from the present model"
        )


def add_missing(optimizer: AnchoredOptimizer) -> None:
    """Make the state of every parameter that trains by now, and drop that of parameters that are gone.

    Before a state dict is taken: torch's distributed checkpoint loads nothing that is not in it.
    """
    drop_vanished(optimizer)
    for group in optimizer.param_groups:
        for param in group["params"]:
            own = optimizer.state.get(param, {})
            if "step" not in own and trains(param):
                optimizer.state[param] = own | fresh_state(optimizer, param, group, own.get("anchor"))


def drop_vanished(optimizer: AnchoredOptimizer) -> None:
    """Delete the state of parameters that are in no group any more. Raises RuntimeError where a wrapper flattened them
    into vectors, and the rule sums over whole tensors."""
    present = {param for group in optimizer.param_groups for param in group["params"]}
    vanished = [param for param in optimizer.state if param not in present]
    check_replaced(optimizer, vanished)
    for param in vanished:
        del optimizer.state[param]
