"""Whether a step can be taken by Triton kernels; imports neither Triton nor the kernels."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from digrap.optim.bucket import Bucket
from digrap.optim.tensors import uniform

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer

NOT_INSTALLED = "which is not installed; install the package triton, or leave fused out"
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def takes(optimizer: AnchoredOptimizer, group: dict[str, Any], param: Tensor, grad: Tensor | None = None) -> bool:
    """Whether the kernels update `param`: on CUDA, with an anchor, everything dense, contiguous and of one dtype, and
    Triton works here. Raises RuntimeError for fused=True where Triton is missing or does not work."""
    if not (param.is_cuda and optimizer.kernel and group["anchor"] != "none"):
        return False
    if param.dtype not in DTYPES or not uniform(param, grad, optimizer.state.get(param, {})):
        return False
    fault = fault_on(param.device) if installed() else NOT_INSTALLED
    if fault and group["fused"]:
        raise RuntimeError(f"{type(optimizer).__name__}: fused=True on CUDA needs Triton, {fault}")
    return fault is None


@functools.cache
def installed() -> bool:
    """Whether Triton can be imported."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def fault_on(device: torch.device) -> str | None:
    """Why Triton does not work on a GPU, found by a step there; None where it does. A warning says it once. The capture
    of a CUDA graph finds it known, as torch asks for a few steps before."""
    from digrap.optim.l2sp import L2SP

    if torch.version.hip:
        return "whose kernels are tested on NVIDIA's GPUs alone; leave fused out"
    param = torch.nn.Parameter(torch.ones(2, device=device))
    optimizer = L2SP([param], fused=True)
    param.grad = torch.ones_like(param)
    state, group = optimizer.state[param], optimizer.param_groups[0]
    bucket = Bucket([param], [param.grad], [state], group, 1, "triton")
    try:
        with torch.no_grad():
            importlib.import_module("digrap.optim.kernels.triton_step").step(optimizer, bucket)
    except Exception as error:  # of Triton, of a compiler, of the driver
        said = f"which does not work here ({type(error).__name__}: {error})".strip().splitlines()[0]
        warnings.warn(
            f"the optimizer's kernels need Triton, {said}; steps use torch operations, which are slower",
            stacklevel=2,
        )
        return f"{said}; leave fused out"
    return None
