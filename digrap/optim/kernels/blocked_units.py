"""What the blocked step works on: tensors of a bucket, alone in blocks of rows or stacked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import gcd, prod

import torch
from torch import Tensor

from digrap.optim.bucket import Bucket
from digrap.optim.tensors import dot, row_dots, row_layout

SMALL = 2**16  # elements; tensors up to this size are stacked
BLOCK = 384 * 2**10  # elements of a block for each thread
ALIGN = 16  # blocks begin at multiples of this, as torch's kernels round vectors and their rests differently
LONG = 32  # elements; numbers of rows from this length on are kept


@dataclass
class Scratch:
    """Memory that is taken once and reused by all blocks of a step."""

    memory: Tensor

    def like(self, block: Tensor) -> Tensor:
        """A contiguous tensor of the block's shape with arbitrary values; it is valid until the next call."""
        if self.memory.numel() < block.numel():
            self.memory = block.new_empty(block.numel())
        return self.memory[: block.numel()].view(block.shape)


@dataclass
class Unit:
    """Tensors of one shape that take the step together: one large tensor, or several small ones.

    Its blocks have the shape (rows, length of a row) or, where the elements of a row are not neighbours in memory,
    (rows, length, elements between them). Those of several tensors hold the rows of all, tensor after tensor.

    A unit lasts for as long as its tensors stay where they are; it has gradients during a step only.
    """

    members: list[int]  # their places in the whole bucket
    bucket: Bucket
    rows: int  # of one tensor
    length: int
    between: int
    scratch: Scratch
    sums: list[Tensor] = field(default_factory=list)  # what the first pass leaves for the second, one for each block
    views: dict[str, list[Tensor]] = field(default_factory=dict)  # blocks of a large tensor
    kept: dict[str, tuple[int, int, list[Tensor]]] = field(default_factory=dict)  # see `keep`

    def take_up(self, bucket: Bucket) -> None:
        """Begin the next step of the whole bucket."""
        self.bucket = bucket.pick(self.members)

    def let_go(self) -> None:
        """End a step: nothing of the gradients is held."""
        self.bucket.grads, self.sums = [], []
        self.views.pop("grad", None)

    @property
    def count(self) -> int:
        return len(self.members)

    @property
    def large(self) -> bool:
        return self.bucket.params[0].numel() > SMALL

    @property
    def long(self) -> bool:
        """Whether numbers of rows take little memory beside the rows."""
        return self.length >= LONG

    def blocks(self, *keys: str) -> list[tuple[Tensor | None, ...]]:
        """The blocks of "param", "grad" or state tensors; None for what is not there (an anchor at zero). Those of
        small tensors are copies."""
        return list(zip(*(self._cut(key) for key in keys), strict=True))

    def _cut(self, key: str) -> list[Tensor | None]:
        tensors = self._tensors(key)
        if tensors is None:
            return [None] * len(self._cut("grad"))
        shape = (-1, self.length) if self.between == 1 else (-1, self.length, self.between)
        if not self.large:
            return [torch.stack(tensors).view(shape)]
        if key not in self.views:
            slab = self.length * self.between
            least = aligned_rows(slab)
            rows = max(1, BLOCK * torch.get_num_threads() // slab // least) * least
            whole = tensors[0].view(shape)
            self.views[key] = [whole] if rows >= self.rows else list(whole.split(rows))
        return self.views[key]

    def _tensors(self, key: str) -> list[Tensor] | None:
        if key in ("param", "grad"):
            return self.bucket.params if key == "param" else self.bucket.grads
        return self.bucket.gather(key) if key in self.bucket.states[0] else None

    def whole(self, key: str) -> Tensor | None:
        """A large tensor as a matrix of its rows; None for what is not there."""
        tensors = self._tensors(key)
        return None if tensors is None else tensors[0].view(self.rows, -1)

    def write(self, key: str, values: Tensor) -> None:
        """Store the block of small tensors; those of a large one share its memory."""
        if not self.large:
            torch._foreach_copy_(self._tensors(key), self._apart(values))

    def _apart(self, block: Tensor) -> list[Tensor]:
        """A block of small tensors as one tensor of the parameters' shape each."""
        return list(block.view(-1, *self.bucket.params[0].shape).unbind())

    def for_rows(self, numbers: Tensor) -> Tensor:
        """One number per tensor, ready to be combined with a block."""
        if self.count > 1:
            numbers = numbers.repeat_interleave(self.rows)
        return numbers.view((-1, 1) if self.between == 1 else (-1, 1, 1))

    # --- numbers of rows ---------------------------------------------------------------------------------------------

    def known(self, key: str) -> list[Tensor] | None:
        """What the step before kept of the state tensor called `key`; None where nothing is, or anything but the step
        has written to the tensor."""
        version, step, numbers = self.kept.get(key, (None, None, None))
        return numbers if (version, step) == (self._version(key), self.bucket.step - 1) else None

    def keep(self, key: str, numbers: list[Tensor]) -> None:
        """Keep numbers of the rows of a large tensor with long rows for the next step, block by block."""
        if self.large and self.long:
            self.kept[key] = self._version(key), self.bucket.step, numbers

    def _version(self, key: str) -> int:
        return self.bucket.states[0][key]._version

    # --- sums ---------------------------------------------------------------------------------------------------

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """<a, b> of each tensor of a block: shape (tensors,)."""
        if self.count == 1:
            return dot(a.view(-1), b.view(-1)).view(1)
        return row_dots(a.view(self.count, -1), b.view(self.count, -1))

    def line_dots(self, a: Tensor, b: Tensor) -> Tensor:
        """<a, b> of each row of a block, those of strided rows singly: shape (lines of the block,)."""
        if self.between == 1:
            return row_dots(a, b)
        return torch.mul(a, b, out=self.scratch.like(a)).sum(dim=1).view(-1)

    def magnitudes(self, x: Tensor) -> Tensor:
        """‖·‖₁ of each row of a block: shape (rows of the block,)."""
        return torch.abs(x, out=self.scratch.like(x)).sum(dim=1)

    def total(self, numbers: Tensor) -> Tensor:
        """Sums for each tensor of a number for each row: shape (tensors,)."""
        return numbers.reshape(self.count, -1).sum(dim=1)

    # --- the base update ----------------------------------------------------------------------------------------

    def update(self) -> None:
        """Take the base step with the gradients as they are."""
        self._base(self.bucket.params, self.bucket.grads, self.bucket.gather)

    def update_block(self, index: int, grad: Tensor) -> None:
        """Take the base step of one block, with its own gradient."""
        if self.large:
            self._base([self._cut("param")[index]], [grad], lambda key: [self._cut(key)[index]])
        else:
            self._base(self.bucket.params, self._apart(grad), self.bucket.gather)

    def update_around(self, first: int, grad: Tensor) -> None:
        """Take the base step of a large tensor whose gradient is `grad` in the rows from `first` on, its own in the
        others. The rows begin and end at multiples of `aligned_rows` or at the ends of the tensor."""
        ends = 0, first, first + len(grad), self.rows
        places = [slice(*pair) for pair in pairwise(ends) if pair[0] < pair[1]]

        def pieces(key: str) -> list[Tensor]:
            return [self.whole(key)[place] for place in places]

        grads = [grad if place.start == first else piece for place, piece in zip(places, pieces("grad"), strict=True)]
        self._base(pieces("param"), grads, pieces)

    def _base(self, params: list[Tensor], grads: list[Tensor], gather: Callable[[str], list[Tensor]]) -> None:
        group = self.bucket.group
        shared = dict(weight_decay=group["weight_decay"], lr=group["lr"], maximize=False)
        if group["base"] == "adamw":
            steps = self.bucket.gather("step")
            beta1, beta2 = group["betas"]
            torch._fused_adamw_(
                params, grads, gather("exp_avg"), gather("exp_avg_sq"), [],
                steps if len(steps) == len(params) else steps * len(params),
                beta1=beta1, beta2=beta2, eps=group["eps"], amsgrad=False, **shared,
            )  # fmt: skip
            return
        torch._fused_sgd_(
            params, grads, gather("momentum_buffer") if group["momentum"] else [], momentum=group["momentum"],
            dampening=0.0, nesterov=group["nesterov"], is_first_step=False, **shared,
        )  # fmt: skip


def displacement(param: Tensor, anchor: Tensor | None, out: Tensor) -> Tensor:
    """δ of a block, written to `out` unless θ0 = 0."""
    return param if anchor is None else torch.sub(param, anchor, out=out)


def renew(param: Tensor, anchor: Tensor | None, kept: Tensor) -> None:
    """Write δ of a block over what is kept of the previous step."""
    if anchor is None:
        kept.copy_(param)
    else:
        torch.sub(param, anchor, out=kept)


def aligned_rows(slab: int) -> int:
    """The least number of rows of `slab` elements that end at a multiple of ALIGN."""
    return ALIGN // gcd(ALIGN, slab)


def units(bucket: Bucket, middle: bool) -> list[Unit]:
    """The bucket's units, those of the step before where its tensors stayed in place. `middle`: rows run along
    dimension 1 (DiGraP), not along all dimensions but the first."""
    memory = {} if bucket.memory is None else bucket.memory
    key = "units", torch.get_num_threads()
    if key in memory:
        for unit in memory[key]:
            unit.take_up(bucket)
    else:
        memory.clear()  # of another number of threads
        memory[key] = list(_units(bucket, middle))
    return memory[key]


def _units(bucket: Bucket, middle: bool) -> Iterator[Unit]:
    scratch = Scratch(bucket.params[0].new_empty(0))
    shapes: dict[torch.Size, list[int]] = defaultdict(list)
    for index, param in enumerate(bucket.params):
        if param.numel() > SMALL:
            yield Unit([index], bucket.pick([index]), *row_layout(param.shape, middle), scratch)
        else:
            shapes[param.shape].append(index)
    for shape, members in shapes.items():
        most = max(1, BLOCK // max(1, prod(shape)))
        for first in range(0, len(members), most):
            chosen = members[first : first + most]
            yield Unit(chosen, bucket.pick(chosen), *row_layout(shape, middle), scratch)
