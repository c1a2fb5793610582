"""Division of VQAv2's questions into training, validation and test, by the authors' 10 % sample."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from digrap.core.errors import DigrapError

PROTOCOLS = ("clean", "paper")
SEED = 0
LEAKY = "the ID validation and test questions are in the training set (protocol=paper, as the paper's text says)"


@dataclass(frozen=True)
class Drawn:
    """Ids of VQAv2's questions as a protocol divides them."""

    train: list[str]
    val: list[str]
    test: list[str]


def draw(
    train: Sequence[str], val: Sequence[str], protocol: str, train_share: float = 0.1, val_share: float = 0.1
) -> Drawn:
    """Divide VQAv2's `train` and `val`, the ids of all questions of the two parts in their files' order.

    Both protocols draw int(share · n) of train and then of val, without replacement, from one generator, Python's
    random with seed 0, as the authors do (chengyuehuang511/vlm_robustness, subsample.py): with LAVIS's lists and shares
    of 0.1 the questions are theirs. The second sample is the ID test. paper trains on both samples and validates on the
    second; clean trains on the first and validates on as many more of val, drawn from the same generator. Raises
    DigrapError for an unknown protocol and for shares that draw nothing.
    """
    check(protocol, train_share, val_share)
    generator = random.Random(SEED)
    first = generator.sample(train, int(train_share * len(train)))
    second = generator.sample(val, int(val_share * len(val)))
    if not first or not second:
        raise DigrapError(f"dataset.train_share, val_share: no question is drawn from {len(train)} + {len(val)}")
    if protocol == "paper":
        return Drawn(first + second, second, second)
    taken = set(second)
    rest = [number for number in val if number not in taken]
    return Drawn(first, generator.sample(rest, min(len(second), len(rest))), second)


def check(protocol: str, train_share: float, val_share: float) -> None:
    """Raise DigrapError for an unknown protocol, and for shares out of range."""
    if protocol not in PROTOCOLS:
        raise DigrapError(f"dataset.protocol={protocol}: choose one of {', '.join(PROTOCOLS)}")
    highest = {"train_share": 1.0, "val_share": 0.5 if protocol == "clean" else 1.0}
    for name, share in (("train_share", train_share), ("val_share", val_share)):
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= highest[name]:
            raise DigrapError(
                f"dataset.{name}={share}: give a share, 0 < {name} ≤ {highest[name]} (protocol={protocol})"
            )
