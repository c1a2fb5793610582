"""A step on a CPU in torch operations on blocks that stay in cache, where no compiler is there.

A large tensor is worked on in blocks of whole rows, in one scratch tensor that all blocks share: fresh temporaries of
the size of a parameter cost more in page faults than the arithmetic. Where the update needs sums over the whole tensor,
its blocks follow in reverse order, as the last ones are still cached. Small tensors of one shape are stacked. The base
update is torch's fused kernel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import gcd, prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from digrap.optim.bucket import Bucket
from digrap.optim.tensors import row_layout

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer

SMALL = 2**16  # elements; tensors up to this size are stacked
BLOCK = 192 * 2**10  # elements of a block for each thread
ALIGN = 16  # blocks begin at multiples of this, as torch's kernels round vectors and their rests differently


def step(optimizer: AnchoredOptimizer, bucket: Bucket) -> None:
    """Take one step of the optimizer's rule for a bucket of contiguous float32 or float64 tensors on the CPU."""
    torch._foreach_add_(bucket.gather("step"), 1.0)
    from digrap.optim.kernels.blocked_rules import RULES  # it imports the rules, which import this package

    rule = RULES[optimizer.kernel]
    scratch = Scratch(bucket.params[0].new_empty(0))
    every = units(bucket, optimizer.kernel == "digrap", scratch)
    if rule.decide is None:
        for unit in every:
            rule.first(optimizer, unit)
        return
    every = list(every)  # what one number per tensor costs is paid once for them all
    found = [rule.first(optimizer, unit) for unit in every]
    columns = [None if column[0] is None else torch.cat(column) for column in zip(*found, strict=True)]
    members = [index for unit in every for index in unit.members]
    own = rule.decide(optimizer, bucket.pick(members), *columns).split([len(unit.members) for unit in every])
    for unit, values in zip(reversed(every), reversed(own), strict=True):
        rule.second(unit, values)


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

    Their blocks have the shape (tensors, rows, length of a row, elements between neighbours of a row).
    """

    members: list[int]  # their places in the whole bucket
    bucket: Bucket
    shape: tuple[int, int, int, int]
    scratch: Scratch
    sums: list[Tensor] = field(default_factory=list)  # what the first pass leaves for the second, one for each block
    views: dict[str, list[Tensor]] = field(default_factory=dict)  # blocks of a large tensor

    @property
    def large(self) -> bool:
        return self.shape[0] == 1 and prod(self.shape) > SMALL

    def blocks(self, *keys: str) -> list[tuple[Tensor | None, ...]]:
        """The blocks of "param", "grad" or state tensors; None for what is not there (an anchor at zero). Those of
        small tensors are copies."""
        return list(zip(*(self._cut(key) for key in keys), strict=True))

    def _cut(self, key: str) -> list[Tensor | None]:
        tensors = self._tensors(key)
        if tensors is None:
            return [None] * len(self._cut("grad"))
        if not self.large:
            return [torch.stack([tensor.view(self.shape[1:]) for tensor in tensors])]
        if key not in self.views:
            self.views[key] = list(tensors[0].view(self.shape).split(self._rows(), dim=1))
        return self.views[key]

    def _tensors(self, key: str) -> list[Tensor] | None:
        if key in ("param", "grad"):
            return self.bucket.params if key == "param" else self.bucket.grads
        return self.bucket.gather(key) if key in self.bucket.states[0] else None

    def _rows(self) -> int:
        """Rows of a block."""
        slab = prod(self.shape[2:])
        least = ALIGN // gcd(ALIGN, slab)
        return max(1, BLOCK * torch.get_num_threads() // slab // least) * least

    def write(self, key: str, values: Tensor) -> None:
        """Store the blocks of small tensors; those of a large one share its memory."""
        if not self.large:
            tensors = self._tensors(key)
            torch._foreach_copy_([tensor.view(self.shape[1:]) for tensor in tensors], list(values.unbind()))

    def per_tensor(self, numbers: Tensor) -> Tensor:
        """One number per tensor, ready to be combined with blocks."""
        return numbers.view(-1, 1, 1, 1)

    # --- the base update ----------------------------------------------------------------------------------------

    def update(self) -> None:
        """Take the base step with the gradients as they are."""
        self._base(self.bucket.params, self.bucket.grads, self.bucket.gather)

    def update_block(self, index: int, grad: Tensor) -> None:
        """Take the base step of one block, with its own gradient."""
        if self.large:
            self._base([self._cut("param")[index]], [grad], lambda key: [self._cut(key)[index]])
        else:
            shape = self.bucket.params[0].shape
            self._base(self.bucket.params, [part.view(shape) for part in grad.unbind()], self.bucket.gather)

    def _base(self, params: list[Tensor], grads: list[Tensor], gather: Callable[[str], list[Tensor]]) -> None:
        group = self.bucket.group
        shared = dict(weight_decay=group["weight_decay"], lr=group["lr"], maximize=False)
        if group["base"] == "adamw":
            beta1, beta2 = group["betas"]
            torch._fused_adamw_(
                params, grads, gather("exp_avg"), gather("exp_avg_sq"), [], self.bucket.gather("step"),
                beta1=beta1, beta2=beta2, eps=group["eps"], amsgrad=False, **shared,
            )  # fmt: skip
            return
        torch._fused_sgd_(
            params, grads, gather("momentum_buffer") if group["momentum"] else [], momentum=group["momentum"],
            dampening=0.0, nesterov=group["nesterov"], is_first_step=False, **shared,
        )  # fmt: skip


def units(bucket: Bucket, middle: bool, scratch: Scratch) -> Iterator[Unit]:
    """The bucket's units. `middle`: rows run along dimension 1 (DiGraP), not along all dimensions but the first."""
    shapes: dict[torch.Size, list[int]] = defaultdict(list)
    for index, param in enumerate(bucket.params):
        if param.numel() > SMALL:
            yield Unit([index], bucket.pick([index]), (1, *row_layout(param.shape, middle)), scratch)
        else:
            shapes[param.shape].append(index)
    for shape, members in shapes.items():
        most = max(1, BLOCK // max(1, prod(shape)))
        for first in range(0, len(members), most):
            chosen = members[first : first + most]
            yield Unit(chosen, bucket.pick(chosen), (len(chosen), *row_layout(shape, middle)), scratch)
