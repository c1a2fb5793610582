"""The compiled implementation of a step on a CPU (native.cpp): called through ctypes, built on first use.

The library is built with the C++ compiler named by $CXX, else c++, g++ or clang++, and kept in $DIGRAP_CACHE, else
~/.cache/digrap, under a name that holds a digest of the sources, the compiler and the processor. DIGRAP_NATIVE=0 turns
it off. It shares the OpenMP threads of torch.
"""

from __future__ import annotations

import ctypes
from array import array
from itertools import chain
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from digrap.optim.kernels.build import SCALARS, library
from digrap.optim.tensors import row_layout

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer
    from digrap.optim.bucket import Bucket

RULES = ("digrap", "ftp", "l2sp", "mars_sp", "spd")
NORMALIZE = ("rows", "tensor", "none")
BLOCK = 2**15  # elements: 128 KB of each tensor in float32
COUNTS = (
    "rule", "base", "tensors", "threads", "block", "step",
    "anchor_zero", "nesterov", "learnt", "listing", "normalize",
)  # fmt: skip
SIZES = (
    "lr", "size", "root", "beta1", "beta2", "eps", "weight_decay", "momentum", "mu", "lam", "omega", "omega_max",
    "strength", "k",
)  # fmt: skip
NUMBERS = 6  # per-tensor numbers that a rule may have here; further ones are not the kernels'
FIELDS = 16  # pointers and sizes of a tensor
GRAD = 1  # the place of its gradient's


class Options(ctypes.Structure):
    """What holds for all tensors of a bucket; `Options` of common.h."""

    _fields_ = [*((name, ctypes.c_int64) for name in COUNTS), *((name, ctypes.c_double) for name in SIZES)]


def step(optimizer: AnchoredOptimizer, bucket: Bucket) -> None:
    """Take one step of the optimizer's rule for a bucket of contiguous tensors on the CPU."""
    given, compiled = _options(optimizer, bucket), library(SCALARS[bucket.params[0].dtype])
    if compiled.digrap_step(ctypes.byref(given), _table(optimizer, bucket)):
        raise RuntimeError(f"native.cpp knows no rule {optimizer.kernel!r}")
    if "delta" in bucket.states[0]:  # written to: what is kept of it elsewhere holds no more
        torch.autograd.graph.increment_version(bucket.gather("delta"))


def _options(optimizer: AnchoredOptimizer, bucket: Bucket) -> Options:
    group = bucket.group
    omega, (beta1, beta2) = group.get("omega"), group.get("betas", (0.0, 0.0))
    given = dict(
        rule=RULES.index(optimizer.kernel), base=group["base"] == "sgd",
        tensors=len(bucket.params), threads=torch.get_num_threads(), block=BLOCK, step=bucket.step,
        anchor_zero=group["anchor"] == "zero", learnt=omega is None, listing=group.get("rule") == "listing",
        normalize=NORMALIZE.index(group.get("normalize", "rows")), beta1=beta1, beta2=beta2,
        lr=(lr := float(group["lr"])), size=lr / (1 - beta1**bucket.step), root=sqrt(1 - beta2**bucket.step),
        omega=omega or 0.0,
    )  # fmt: skip
    return Options(**given | {key: group[key] for key in (*COUNTS, *SIZES) if key in group and key not in given})


def _table(optimizer: AnchoredOptimizer, bucket: Bucket) -> ctypes.Array:
    """The rows of all tensors; the next step finds them in the bucket's memory, and writes the gradients' addresses."""
    memory = {} if bucket.memory is None else bucket.memory
    if "table" not in memory:
        rows = (_row(optimizer, bucket.group, *pair) for pair in zip(bucket.params, bucket.states, strict=True))
        memory["table"] = array("q", chain.from_iterable(rows))
    table = memory["table"]
    table[GRAD::FIELDS] = array("q", map(Tensor.data_ptr, bucket.grads))
    return (ctypes.c_int64 * len(table)).from_buffer(table)


def _row(optimizer: AnchoredOptimizer, group: dict[str, Any], param: Tensor, state: dict[str, Any]) -> list[int]:
    """Pointers and sizes of one tensor, without its gradient's; `Tensor` of common.h."""
    adamw = group["base"] == "adamw"
    entries = (
        "anchor", "exp_avg" if adamw else "momentum_buffer", "exp_avg_sq",
        "candidate" if optimizer.kernel == "ftp" else "delta", "step", *optimizer.scalars[:NUMBERS],
    )  # fmt: skip
    row = [param.data_ptr(), 0, *(state[key].data_ptr() if key in state else 0 for key in entries)]
    row += [0] * (FIELDS - 3 - len(row))
    return [*row, *row_layout(param.shape, middle=optimizer.kernel == "digrap")]
