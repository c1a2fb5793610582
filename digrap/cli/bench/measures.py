"""What one step costs: time, memory that it takes for a while, operations, reads of values."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._C._profiler import _EventType
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the call, the device's work included."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def peak_bytes(call: Callable[[], Any], device: torch.device | None = None) -> int:
    """The most bytes of tensors that the call has allocated at one time beyond those before it.

    On a CPU they are those that torch's profiler sees, kernels' own among them, but not what a library allocates past
    torch: the compiled kernels take some hundred bytes a block and eight a row there.
    """
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it prints lines of its own when it starts
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    changes, events = [], list(profiler.profiler.kineto_results.experimental_event_tree())
    while events:
        event = events.pop()
        events += event.children
        if event.tag == _EventType.Allocation:
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
    now = most = 0
    for _, size in sorted(changes):
        now += size
        most = max(most, now)
    return most


class Calls(TorchDispatchMode):
    """Within it, `count` counts the operations of torch that are called, and `reads` those that return a tensor's value
    to Python, which waits for the device. Reads of the tensors `apart` are not counted."""

    def __init__(self, apart: Iterable[Tensor] = ()):
        super().__init__()
        self.apart = {tensor.data_ptr() for tensor in apart}
        self.count = self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.namespace == "aten"
        self.reads += func in READS and args[0].data_ptr() not in self.apart
        return func(*args, **(kwargs or {}))


def calls(optimizer: Optimizer) -> Calls:
    """The operations of one step. On a CPU the step count, which lies there, is read at no cost and is left out."""
    steps = [state["step"] for state in optimizer.state.values() if torch.is_tensor(state.get("step"))]
    with Calls(step for step in steps if step.device.type == "cpu") as found:
        optimizer.step()
    return found


def state_bytes(optimizer: Optimizer) -> int:
    """Bytes of the optimizer's tensors."""
    return sum(value.nbytes for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))
