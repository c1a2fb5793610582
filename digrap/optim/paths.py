"""Which implementation takes a step.

native   compiled kernels, on a CPU where a C++ compiler is there (float32, float64, bfloat16)
blocked  torch operations on cache-sized blocks, on a CPU without a compiler (float32, float64)
triton   Triton kernels over all tensors of a group, on CUDA where Triton works
foreach  torch operations over lists of tensors, any device and dtype
loop     the same, one tensor at a time

`fused` and `foreach` have torch's meaning: fused=None takes the fastest that fits, True raises RuntimeError where none
of the first three fits, False takes none of them; foreach=True or False chooses one of the last two. Tensors that the
first three cannot take (not contiguous, other dtypes, subclasses of Tensor) take "foreach". Benchmarks and tests choose
one of the first three with `implementations`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from digrap.optim.kernels import triton_choice
from digrap.optim.kernels.build import SCALARS, library
from digrap.optim.tensors import uniform

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer
    from digrap.optim.bucket import Bucket

PATHS = ("native", "blocked", "triton", "foreach", "loop")
FUSED = PATHS[:3]
BLOCKED = (torch.float32, torch.float64)
NOTHING: Mapping[str, Any] = {}
_allowed: ContextVar[tuple[str, ...]] = ContextVar("allowed", default=FUSED)


@contextmanager
def implementations(*names: str) -> Iterator[None]:
    """Within it, steps take none of the first three implementations but those named; where none of them fits, they take
    "foreach". Raises ValueError for any other name."""
    if unknown := [name for name in names if name not in FUSED]:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(FUSED)}; foreach=True or False chooses the others")
    token = _allowed.set(names)
    try:
        yield
    finally:
        _allowed.reset(token)


def allowed() -> tuple[str, ...]:
    """The first three implementations, or those that `implementations` names."""
    return _allowed.get()


def choose(
    optimizer: AnchoredOptimizer,
    group: dict[str, Any],
    param: Tensor,
    grad: Tensor | None = None,
    state: Mapping[str, Any] = NOTHING,
) -> str:
    """The implementation that updates `param`. Raises RuntimeError for fused=True where there is none."""
    if group["foreach"] is not None or group["fused"] is False or torch.compiler.is_compiling():
        return "loop" if group["foreach"] is False and not group["fused"] else "foreach"
    if "triton" in allowed() and triton_choice.takes(optimizer, group, param, grad):
        return "triton"
    found = _fused_path(optimizer, group, param)
    if group["fused"] and not found:
        raise RuntimeError(f"fused=True: {type(optimizer).__name__} has no fused implementation on {param.device.type}")
    return found if found and uniform(param, grad, state) else "foreach"


def _fused_path(optimizer: AnchoredOptimizer, group: dict[str, Any], param: Tensor) -> str | None:
    """The fused implementation on the parameter's device but Triton's; "foreach" where one is there that does not take
    the group or the dtype."""
    if optimizer.kernel is None or param.device.type not in ("cpu", "cuda"):
        return None
    if param.is_cuda or group["capturable"]:
        return "foreach"
    if "native" in allowed() and param.dtype in SCALARS and library(SCALARS[param.dtype]):
        return "native"
    return "blocked" if "blocked" in allowed() and param.dtype in BLOCKED else "foreach"


def kernel(path: str) -> Callable[[AnchoredOptimizer, Bucket], None] | None:
    """The function that takes a step for a bucket with anchors; None: the rule's own torch operations."""
    module = {"triton": "triton_step"}.get(path, path)
    return import_module(f"digrap.optim.kernels.{module}").step if path in FUSED else None


def described(optimizer: AnchoredOptimizer) -> str:
    """The implementations in use: "native", or "foreach 2, native 150" with the numbers of tensors."""
    found = Counter(choose(optimizer, group, param) for group in optimizer.param_groups for param in group["params"])
    return next(iter(found)) if len(found) == 1 else ", ".join(f"{path} {n}" for path, n in sorted(found.items()))
