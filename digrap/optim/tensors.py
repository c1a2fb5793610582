"""Sums, norms and per-tensor numbers of lists of tensors; none of them is read on the host."""

from __future__ import annotations

import torch
from torch import Tensor


def scalar_dtype(param: Tensor) -> torch.dtype:
    """The dtype of per-tensor numbers: float32, or float64 for float64 parameters."""
    return torch.promote_types(param.dtype, torch.float32)


def number_for(param: Tensor, value: float = 0.0) -> Tensor:
    """A per-tensor number: 0-dim, on the parameter's device."""
    return torch.full((), value, dtype=scalar_dtype(param), device=param.device)


def wide(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, all of one dtype, in float32 at least, so that sums are not taken in half precision."""
    dtype = scalar_dtype(tensors[0])
    return [tensor.to(dtype) for tensor in tensors]


def dots(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """<a, b> of each pair of tensors, stacked: shape (number of tensors,)."""
    products = torch._foreach_mul(wide(a), wide(b))
    return torch.stack([product.sum() for product in products])


def norms(tensors: list[Tensor]) -> Tensor:
    """‖x‖₂ of each whole tensor, stacked: shape (number of tensors,)."""
    return torch.stack(list(torch._foreach_norm(wide(tensors))))


def row_sums(x: Tensor) -> Tensor:
    """Sums over dimensions ≥ 1, which are kept with size 1: shape (out, 1, …). A vector or a scalar is one row."""
    if not x.ndim:
        return x
    return x.sum(dim=tuple(range(1, x.ndim)) or 0, keepdim=True)


def scaled(tensors: list[Tensor], factors: Tensor) -> list[Tensor]:
    """Each tensor times its factor, in the tensor's dtype."""
    return list(torch._foreach_mul(tensors, list(factors.to(tensors[0].dtype).unbind())))
