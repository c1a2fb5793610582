"""Sums, norms and per-tensor numbers; none of them is read on the host.

A ‖·‖₂ is the root of a sum of squares: on a CPU, torch's vector norms of large float32 tensors are off by up to 2 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

# The longest contiguous line whose norm and dot product torch takes accurately on a CPU (3e-7; at three million
# elements 7e-5 and 1e-4).
LONG = 8192
PIECE = LONG // 2


# State entries that are as large as their parameter.
WHOLE = ("exp_avg", "exp_avg_sq", "momentum_buffer", "anchor", "delta", "candidate")


# Types of tensors that are what their memory holds: no DTensor, no quantised or fake one.
PLAIN = frozenset((Tensor, torch.nn.Parameter))


def plain(tensor: Tensor) -> bool:
    """Whether the tensor is what its memory holds."""
    return type(tensor) in PLAIN


def uniform(param: Tensor, grad: Tensor | None, state: Mapping[str, Any]) -> bool:
    """Whether kernels may take a parameter's memory for what it seems to be: parameter, gradient and state plain,
    contiguous and of one dtype."""
    tensors = [param, *(value for key, value in state.items() if key in WHOLE)]
    tensors += [] if grad is None else [grad]
    return all(plain(x) and x.dtype == param.dtype and x.is_contiguous() for x in tensors)


def row_layout(shape: torch.Size, middle: bool) -> tuple[int, int, int]:
    """(rows, length of a row, elements between neighbours of a row) in memory. `middle`: rows run along dimension 1
    (DiGraP), not along all dimensions but the first. A vector or a scalar is one row."""
    if len(shape) < 2:
        return 1, prod(shape), 1
    return (shape[0], shape[1], prod(shape[2:])) if middle else (shape[0], prod(shape[1:]), 1)


def scalar_dtype(param: Tensor) -> torch.dtype:
    """The dtype of per-tensor numbers: float32, or float64 for float64 parameters."""
    return torch.promote_types(param.dtype, torch.float32)


def number_for(param: Tensor, value: float = 0.0) -> Tensor:
    """A per-tensor number: 0-dim, on the parameter's device."""
    return torch.full((), value, dtype=scalar_dtype(param), device=param.device)


def tiny_square(dtype: torch.dtype) -> float:
    """The smallest ‖x‖² to divide by: the squares of a smaller x are denormal and have lost their digits."""
    return torch.finfo(dtype).tiny / torch.finfo(dtype).eps


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32 at least, so that sums are not taken in half precision."""
    return tensor.to(scalar_dtype(tensor))


def product(a: Tensor, b: Tensor) -> Tensor:
    """a · b by elements, in float32 at least; the float32 copy of a half-precision `a` becomes the product."""
    copy = wide(a)
    return a * b if copy is a else copy.mul_(copy if b is a else wide(b))


def magnitudes(x: Tensor) -> Tensor:
    """|x| in float32 at least."""
    copy = wide(x)
    return x.abs() if copy is x else copy.abs_()


def inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> over the whole tensors, in float32 at least: 0-dim."""
    exact = a.is_cpu and a.dtype == b.dtype == scalar_dtype(a) and a.is_contiguous() and b.is_contiguous()
    if exact and not torch.compiler.is_compiling():
        return dot(a.view(-1), b.view(-1))
    return product(a, b).sum()


def line_norms(x: Tensor) -> Tensor:
    """‖·‖₂ along dimension 1 of a tensor of two dimensions or more, in float32 at least."""
    if x.ndim > 2 or x.shape[1] > LONG:  # torch's norms along another dimension than the last are very slow on a CPU
        return product(x, x).sum(dim=1).sqrt()
    return torch.linalg.vector_norm(wide(x), dim=1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of two vectors on the CPU without a temporary of their size: 0-dim. torch's own is off by 1e-4 at four
    million float32 elements."""
    whole = a.shape[0] // PIECE * PIECE
    return torch.dot(a[whole:], b[whole:]) + row_dots(a[:whole].view(-1, PIECE), b[:whole].view(-1, PIECE)).sum()


def row_dots(a: Tensor, b: Tensor) -> Tensor:
    """<a_i, b_i> of the rows of two contiguous matrices on the CPU, in one pass and without a temporary: shape (rows,).

    This is the gradient of embedding_bag's weights per sample where each bag holds the row of its own number.
    """
    piece = _piece(a.shape[1])
    if not piece:
        return torch.stack([dot(*pair) for pair in zip(a, b, strict=True)])
    x, y = (a, b) if piece == a.shape[1] else (a.view(-1, piece), b.view(-1, piece))
    rows = _numbered(x.shape[0])
    found = torch.ops.aten._embedding_bag_per_sample_weights_backward.default(x, y, rows, rows, rows, mode=0)
    return found if x is a else found.view(a.shape[0], -1).sum(dim=1)


@lru_cache
def _piece(length: int) -> int:
    """The largest divisor of a row's length that is at most LONG; 0 where only small ones are."""
    found = next(piece for piece in range(min(length, LONG), 0, -1) if not length % piece)
    return found if found == length or found >= LONG // 16 else 0


@lru_cache
def _numbered(count: int) -> Tensor:
    return torch.arange(count)


def row_sums(x: Tensor) -> Tensor:
    """Sums over dimensions ≥ 1, which are kept with size 1: shape (out, 1, …). A vector or a scalar is one row."""
    if not x.ndim:
        return x
    return x.sum(dim=tuple(range(1, x.ndim)) or 0, keepdim=True)


def table(rows: list[tuple[Tensor, ...]]) -> Tensor:
    """0-dim numbers, the same k for each of T tensors, in one tensor of shape (k, T)."""
    return torch.stack([number for row in rows for number in row]).view(len(rows), -1).T


def pick(first: list[bool], a: Tensor, b: Tensor) -> Tensor:
    """Of each tensor, its number in `a` where `first`, else that in `b`."""
    return torch.stack([x if take else y for take, x, y in zip(first, a.unbind(), b.unbind(), strict=True)])


def scaled(tensors: list[Tensor], factors: Tensor) -> list[Tensor]:
    """Each tensor times its factor, in the tensor's dtype. A factor beyond that dtype's range becomes its largest."""
    dtype = tensors[0].dtype
    if dtype != factors.dtype:
        most = torch.finfo(dtype).max
        factors = factors.clamp(-most, most).to(dtype)
    return list(torch._foreach_mul(tensors, list(factors.unbind())))
