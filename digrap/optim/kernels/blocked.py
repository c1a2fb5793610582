"""A step on a CPU without a compiler, in torch operations on blocks that stay in cache.

A large tensor is worked on in blocks of whole rows, in one scratch tensor that all blocks share: fresh temporaries of
the size of a parameter cost more in page faults than the arithmetic. Small tensors of one shape are stacked. Where the
update needs sums over whole tensors, a first pass over everything takes them, one number per tensor is decided for all
tensors together, and a second pass follows in reverse order, as the last blocks are still cached. The base update is
torch's fused kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from digrap.optim.bucket import Bucket
from digrap.optim.kernels.blocked_rules import RULES
from digrap.optim.kernels.blocked_units import units

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer


def step(optimizer: AnchoredOptimizer, bucket: Bucket) -> None:
    """Take one step of the optimizer's rule for a bucket of contiguous float32 or float64 tensors on the CPU."""
    bucket.count()
    rule = RULES[optimizer.kernel]
    every = units(bucket, middle=optimizer.kernel == "digrap")
    found = [rule.first(optimizer, unit) for unit in every]
    if rule.decide is not None:
        members = [index for unit in every for index in unit.members]
        values = rule.decide(optimizer, bucket.pick(members), found).split([unit.count for unit in every])
        for unit, own in zip(reversed(every), reversed(values), strict=True):
            rule.second(unit, own)
    for unit in every:
        unit.let_go()
