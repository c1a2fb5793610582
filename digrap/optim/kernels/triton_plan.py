"""What the Triton kernels need besides the tensors: who works on what, where the tensors are, scratch memory.

A kernel works on all tensors of a bucket. It finds them in a table of addresses (int64, one row per tensor) and its
piece of work in a layout (int64, one row per tensor) and an owner list (int32, the tensor of each program). The sums of
each program go to a scratch row of its own, and one program per tensor adds them up in the order of the programs, so no
atomic operation is needed and results do not depend on the scheduling.

CUDA graphs. A graph repeats the launches with the arguments they had. So that it computes the right thing:

- Addresses: the table is on the device and is written again only when an address changed. While a stream is being
  captured a plan of its own is made, with fresh tables and scratch memory that no later step touches and that live as
  long as the optimizer. They are copied from pinned memory, which the graph copies again at each replay; parameters,
  gradients and states must stay where they are, as for any optimizer in a graph.
- Numbers: lr, t and the hyper-parameters are read from a float64 vector on the device. With capturable=True, t is read
  from the states' `step`, which is on the device and incremented there, and a learning rate that is a tensor is copied
  on the device, so both may change between replays. What is a Python number is fixed at capture, as in torch.
- The host reads nothing from the device, and kernels must have been compiled before: take a few steps before the
  capture, as torch asks anyway.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from digrap.optim.tensors import scalar_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from digrap.optim.base import AnchoredOptimizer
    from digrap.optim.bucket import Bucket

BLOCK = 1024  # elements that a program holds at a time
WORK = 8192  # elements of a program, a multiple of BLOCK; many short rows share a program
LONG = 65536  # a longer row, where a tensor has several, is divided between programs
NARROW = 16  # row elements in a tile of several rows

# Columns of the address table; those of the per-tensor numbers follow, in the order of the class's `scalars`.
TENSORS = ("grad", "param", "first", "second", "anchor", "delta", "step")
KEPT = 4  # plans that are kept for each group

# Columns of the layout. A row has `length` elements, `inner` apart; `parts` programs share it, or one has `rows_each`.
FIELDS = ("numel", "rows", "length", "inner", "parts", "part", "rows_each", "first", "programs", "first_row", "kind")
WIDE, SHORT, STRIDED = range(3)  # shapes of tiles: one row, several rows, several rows whose elements are apart


def flat(shape: torch.Size) -> tuple[int, int, int]:
    """(rows, length, inner) of a tensor as one row."""
    return 1, math.prod(shape), 1


def rows_of_first(shape: torch.Size) -> tuple[int, int, int]:
    """Rows along dimension 0 with the rest flattened; a vector is one row."""
    return (shape[0], math.prod(shape[1:]), 1) if len(shape) > 1 else flat(shape)


def rows_of_second(shape: torch.Size) -> tuple[int, int, int]:
    """Rows run along dimension 1, dimension 0 of vectors: (out · kh · kw, in, kh · kw) of a convolution's kernel."""
    if len(shape) < 2:
        return flat(shape)
    inner = math.prod(shape[2:])
    return shape[0] * inner, shape[1], inner


def capturing(device: torch.device) -> bool:
    """Whether the launches become part of a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


class Uploads:
    """Tables copied to a device without waiting, from pinned memory.

    During a capture that memory is kept: the graph copies it again at each replay. Otherwise torch keeps it until it is
    copied.
    """

    def __init__(self, device: torch.device):
        self.device, self.held = device, []

    def __call__(self, table: Tensor) -> Tensor:
        """The table on the device."""
        if self.device.type == "cpu":
            return table
        pinned = table.pin_memory()
        if capturing(self.device):
            self.held.append(pinned)
        return pinned.to(self.device, non_blocking=True)


class Layout:
    """The programs of a launch. `owner`: int32, (programs,). `fields`: int64, (tensors, len(FIELDS))."""

    def __init__(self, sizes: list[tuple[int, int, int]], upload: Uploads):
        table, owner, first, first_row = [], [], 0, 0
        for index, (rows, length, inner) in enumerate(sizes):
            parts, each = _shares(rows, length)
            programs = rows * parts if parts > 1 else -(-rows // each)
            kind = STRIDED if inner > 1 else WIDE if parts > 1 or rows == 1 or length > BLOCK // 4 else SHORT
            part = WORK if parts > 1 else length
            table.append((rows * length, rows, length, inner, parts, part, each, first, programs, first_row, kind))
            owner.append(torch.full((programs,), index, dtype=torch.int32))
            first, first_row = first + programs, first_row + rows
        self.programs, self.rows, self.tensors = first, first_row, len(sizes)
        self.fields = upload(torch.tensor(table, dtype=torch.int64))
        self.owner = upload(torch.cat(owner))


def _shares(rows: int, length: int) -> tuple[int, int]:
    """Programs that share a row, and rows that a program takes."""
    if length > (WORK if rows == 1 else LONG):
        return -(-length // WORK), 1
    return 1, max(1, WORK // length)


class Plan:
    """The tables and scratch memory of a step for one list of tensors, on their device.

    Attributes:
        flat, rows: layouts of the tensors as one row each, and in the rows of the rule.
        addresses: int64, (tensors, columns). numbers: float64, (number of hyper-parameters,).
        sums: scratch of the programs' sums, (programs, WIDTH). results: numbers for the next launch, (tensors,).
        candidates: int64 scratch, (programs,). best: a row of each tensor, int64, (tensors,).
        row_sums: a norm of each row, (rows,), for rows along dimension 0.
    """

    WIDTH = 5

    def __init__(self, shapes: tuple[torch.Size, ...], rows_of: Callable, device: torch.device, dtype: torch.dtype):
        self.upload = Uploads(device)
        self.flat = Layout([flat(shape) for shape in shapes], self.upload)
        self.rows = self.flat if rows_of is flat else Layout([rows_of(shape) for shape in shapes], self.upload)
        programs = max(self.flat.programs, self.rows.programs)
        self.sums = torch.empty((programs, self.WIDTH), dtype=dtype, device=device)
        self.results = torch.empty(len(shapes), dtype=dtype, device=device)
        self.candidates = torch.empty(programs, dtype=torch.int64, device=device)
        self.best = torch.empty(len(shapes), dtype=torch.int64, device=device)
        self.row_sums = torch.empty(self.rows.rows if rows_of is rows_of_first else 0, dtype=dtype, device=device)
        self.memory: dict | None = None
        self.grads: list[int] = []
        self.addresses = self.numbers = torch.empty(0, device=device)

    def point(self, bucket: Bucket, scalars: tuple[str, ...], numbers: list[float], lr: Tensor | None) -> None:
        """Bring the addresses and the hyper-parameters up to date. `lr`: a learning rate that is on the device."""
        grads = [*map(Tensor.data_ptr, bucket.grads)]
        standing = bucket.memory is not None and self.memory is bucket.memory
        if not standing:
            self.memory, self.table = bucket.memory, _addresses(bucket, columns(bucket, scalars))
        if not standing or grads != self.grads:
            self.grads = grads
            self.table = self.table.clone()  # without a GPU, a kernel of before may have this one
            self.table[:, TENSORS.index("grad")] = torch.tensor(grads, dtype=torch.int64)
            self.addresses = self.upload(self.table)
        self.numbers = self.upload(torch.tensor(numbers, dtype=torch.float64))
        if lr is not None:
            self.numbers[0].copy_(lr.reshape(()))


def _addresses(bucket: Bucket, keys: tuple[str, ...]) -> Tensor:
    """The address table on the CPU, without the gradients."""
    rows = [
        [0, param.data_ptr(), *(state[key].data_ptr() if key in state else 0 for key in keys)]
        for param, state in zip(bucket.params, bucket.states, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.int64)


def columns(bucket: Bucket, scalars: tuple[str, ...]) -> tuple[str, ...]:
    """The state entries in the address table, after gradient and parameter."""
    adamw = bucket.group["base"] == "adamw"
    moments = ("exp_avg", "exp_avg_sq") if adamw else ("momentum_buffer", "")
    return *moments, "anchor", "candidate" if "gamma" in scalars else "delta", "step", *scalars


def plan_for(optimizer: AnchoredOptimizer, bucket: Bucket, rows_of: Callable) -> Plan:
    """The bucket's plan. The optimizer keeps the last few of a group; those of a capture are new and stay."""
    plans = vars(optimizer).setdefault("_triton_plans", {})  # not pickled: torch's Optimizer chooses what is
    first, shapes = bucket.params[0], tuple(param.shape for param in bucket.params)
    key: tuple = (object(),)
    if not capturing(first.device):
        # Tables are used on one stream, so that torch does not give their memory to others before the kernels ran.
        stream = torch.cuda.current_stream(first.device).cuda_stream if first.is_cuda else 0
        key = id(bucket.group), shapes, rows_of, first.device, first.dtype, stream
    plan = plans.pop(key, None) or Plan(shapes, rows_of, first.device, scalar_dtype(first))
    plans[key] = plan  # at the end: the last used
    reused = [known for known in plans if len(known) > 1]
    for known in reused[: -KEPT * len(optimizer.param_groups)]:
        del plans[known]
    return plan
