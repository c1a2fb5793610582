"""Whether a step can be taken by Triton kernels; imports neither Triton nor the kernels."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from digrap.optim.tensors import uniform

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def takes(optimizer: AnchoredOptimizer, group: dict[str, Any], param: Tensor, grad: Tensor | None = None) -> bool:
    """Whether the kernels update `param`: fused=True, on CUDA, with an anchor, and everything dense, contiguous and of
    one dtype. Raises RuntimeError where Triton is wanted and missing."""
    if not (group["fused"] and param.is_cuda and optimizer.kernel and group["anchor"] != "none"):
        return False
    if param.dtype not in DTYPES or not uniform(param, grad, optimizer.state.get(param, {})):
        return False
    if not installed():
        raise RuntimeError(
            f"{type(optimizer).__name__}: fused=True on CUDA needs Triton, which is not installed; install the package "
            "triton, or leave fused out"
        )
    return True


@functools.cache
def installed() -> bool:
    """Whether Triton can be imported."""
    return importlib.util.find_spec("triton") is not None
