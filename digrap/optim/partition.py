"""Which parameters of a group take a step together.

Finding that out costs Python time for every tensor, more than the update itself where tensors are small. What was found
holds while the tensors stay what and where they are, which can be checked in a fraction of that time.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from digrap.optim.base_update import count_of
from digrap.optim.bucket import Bucket
from digrap.optim.paths import allowed, choose
from digrap.optim.shards import checked_layout, local, local_gradient
from digrap.optim.state import ready_state, warn_of_writes
from digrap.optim.tensors import PLAIN

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer

DECISIVE = ("base", "anchor", "fused", "foreach", "capturable")  # options that decide on the implementation
ADDRESSED = ("cpu", "cuda")  # devices on which a tensor has an address
ADDRESS = Tensor.data_ptr
DTYPE, LAYOUT, SHAPE = map(attrgetter, ("dtype", "layout", "shape"))


class Known(NamedTuple):
    """What a group's tensors looked like, and for each of its buckets the places of its parameters among those that
    have a gradient, the implementation, and a memory for it."""

    look: tuple[Any, ...]
    buckets: list[tuple[list[int], str, dict[str, Any]]]


class Given(NamedTuple):
    """The parameters of a group that have a gradient, these, and the states."""

    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Any]]


def partition(optimizer: AnchoredOptimizer, group: dict[str, Any]) -> list[Bucket]:
    """The group's parameters that have a gradient, in buckets. Raises RuntimeError for sparse or complex gradients, and
    for what `checked_layout`, `ready_state` and `choose` refuse."""
    if torch.compiler.is_compiling():
        return _found(optimizer, group)
    known = vars(optimizer).setdefault("_partitions", {})  # not pickled: torch's Optimizer chooses what is
    given = _given(optimizer, group)
    before, look = known.pop(id(group), None), _look(optimizer, group, given)
    if before and look and before.look == look:
        found = [_bucket(group, given, *entry) for entry in before.buckets]
        if all(found):
            known[id(group)] = before
            return found
    found = _found(optimizer, group)
    given = _given(optimizer, group)  # states are made by now
    look = _look(optimizer, group, given)
    if look and _all_plain(given):
        places, entries = {param: place for place, param in enumerate(given.params)}, []
        for bucket in found:
            bucket.memory = {}
            entries.append(([places[param] for param in bucket.params], bucket.path, bucket.memory))
        known[id(group)] = Known(look, entries)
        for stale in known.keys() - set(map(id, optimizer.param_groups)):
            del known[stale]
    return found


def _given(optimizer: AnchoredOptimizer, group: dict[str, Any]) -> Given:
    params = [param for param in group["params"] if param.grad is not None]
    return Given(params, [param.grad for param in params], [optimizer.state.get(param, {}) for param in params])


def _look(optimizer: AnchoredOptimizer, group: dict[str, Any], given: Given) -> tuple[Any, ...] | None:
    """All that buckets and implementations depend on but the step counts; None for gradients that are not plain. Fresh
    gradients look as those before did, wherever they are."""
    if not {Tensor}.issuperset(map(type, given.grads)) or not {torch.strided}.issuperset(map(LAYOUT, given.grads)):
        return None
    updated = [*given.params, *given.grads]
    kept = [*chain.from_iterable(map(dict.values, given.states))]
    return (
        [*map(id, given.params)], [*map(SHAPE, given.params)], [*map(ADDRESS, given.params)],
        [*map(DTYPE, updated)], [*map(Tensor.is_contiguous, updated)],
        [*map(tuple, given.states)], [*map(id, kept)], [*map(ADDRESS, kept)],
        [group[key] for key in DECISIVE], bool(group.get("momentum")), optimizer.kernel, allowed(),
    )  # fmt: skip


def _all_plain(given: Given) -> bool:
    """Whether all tensors are what the memory at their address holds, and none is empty."""
    tensors = [*given.params, *given.grads, *chain.from_iterable(map(dict.values, given.states))]
    return all(type(x) in PLAIN and x.device.type in ADDRESSED and x.numel() for x in tensors)


def _bucket(group: dict[str, Any], given: Given, places: list[int], path: str, memory: dict[str, Any]) -> Bucket | None:
    """The bucket of the parameters at `places`; None where they are not all at one step."""
    params, grads, states = ([values[place] for place in places] for values in given)
    counts = {0} if group["capturable"] else {int(state["step"].item()) + 1 for state in states}
    return Bucket(params, grads, states, group, counts.pop(), path, memory=memory) if len(counts) == 1 else None


def _found(optimizer: AnchoredOptimizer, group: dict[str, Any]) -> list[Bucket]:
    """The buckets, found by a look at each tensor."""
    if not torch.compiler.is_compiling() and optimizer.writes:
        warn_of_writes(optimizer, group)
    buckets: dict[tuple, Bucket] = {}
    for param in group["params"]:
        if (grad := param.grad) is None or not grad.numel():
            continue
        if grad.layout != torch.strided:
            raise RuntimeError(f"{type(optimizer).__name__} does not support sparse gradients; use dense ones")
        if grad.is_complex():
            raise RuntimeError(f"{type(optimizer).__name__} does not support complex gradients")
        layout = checked_layout(optimizer, param, group)
        state = ready_state(optimizer, param, group)
        step = count_of(optimizer, param, state, group)
        path = choose(optimizer, group, param, grad, state)
        key = param.device, param.dtype, step, path, layout
        bucket = buckets.setdefault(key, Bucket([], [], [], group, step, path, layout))
        bucket.params.append(local(param))
        bucket.grads.append(local_gradient(param, grad))
        bucket.states.append(state)
    return list(buckets.values())
