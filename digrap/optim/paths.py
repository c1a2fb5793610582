"""Which implementation takes a step.

native   compiled kernels on a CPU, built on first use where a C++ compiler is there
blocked  torch operations on cache-sized blocks, on a CPU without a compiler
triton   Triton kernels over all tensors of a group, on CUDA; they have not run on a GPU yet, so only with fused=True
foreach  torch operations over lists of tensors, any device
loop     the same, one tensor at a time
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from digrap.optim.kernels import triton_choice

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer
    from digrap.optim.bucket import Bucket

PATHS = ("native", "blocked", "triton", "foreach", "loop")
KERNELS: dict[str, Callable[[AnchoredOptimizer, Bucket], None]] = {"triton": triton_choice.step}


def choose(optimizer: AnchoredOptimizer, group: dict[str, Any], param: Tensor, grad: Tensor | None = None) -> str:
    """The implementation that updates `param`."""
    if group["foreach"] is not None or group["fused"] is False or torch.compiler.is_compiling():
        return "loop" if group["foreach"] is False else "foreach"
    if triton_choice.takes(optimizer, group, param, grad):
        return "triton"
    return "foreach"


def described(optimizer: AnchoredOptimizer) -> str:
    """The implementations in use: "native", or "foreach 2, native 150" with the numbers of tensors."""
    found = Counter(choose(optimizer, group, param) for group in optimizer.param_groups for param in group["params"])
    return next(iter(found)) if len(found) == 1 else ", ".join(f"{path} {n}" for path, n in sorted(found.items()))
