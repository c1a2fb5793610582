"""The optimizers that are measured, their implementations, and the bytes that a step of each must move."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from digrap.optim import FTP, L2SP, MARSSP, SPD, AnchoredOptimizer, DiGraP
from digrap.optim.paths import FUSED, PATHS, implementations

# `fused` and `foreach` of a group that takes an implementation.
FLAGS = dict.fromkeys(FUSED, (None, None)) | {"triton": (True, None), "foreach": (False, True), "loop": (False, False)}


@dataclass(frozen=True)
class Base:
    """torch's own optimizer. `accesses` counts the parameter-sized tensors that a step reads or writes."""

    cls: type[Optimizer]
    options: dict[str, Any]
    accesses: int


@dataclass(frozen=True)
class Rule:
    """One of ours. `more` and `more_zero` are the accesses beyond the base's, with an anchor and with anchor="zero"."""

    cls: type[AnchoredOptimizer]
    options: dict[str, Any]
    more: int
    more_zero: int


BASES = {  # AdamW reads g, θ, m, v and writes θ, m, v; SGD has one moment
    "adamw": Base(torch.optim.AdamW, {"lr": 1e-4, "weight_decay": 0.01}, 7),
    "sgd": Base(torch.optim.SGD, {"lr": 1e-4, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, 5),
}
RULES = {  # docs/performance.md derives the accesses
    "L2-SP": Rule(L2SP, {"lam": 0.01}, 1, 0),
    "MARS-SP": Rule(MARSSP, {"lam": 0.01}, 2, 1),
    "SPD": Rule(SPD, {"strength": 0.5}, 4, 2),
    "FTP": Rule(FTP, {}, 6, 4),
    "DiGraP": Rule(DiGraP, {}, 6, 4),
    "DiGraP, ω fixed": Rule(DiGraP, {"omega": 1.0}, 4, 2),
    "DiGraP, low memory": Rule(DiGraP, {"low_memory": True}, 12, 9),
}


@dataclass(frozen=True)
class Contender:
    """An optimizer with one of its implementations; `accesses` is that of a step at its dearest."""

    name: str
    way: str
    optimizer: Optimizer
    accesses: int

    @contextlib.contextmanager
    def chosen(self) -> Iterator[None]:
        """Within it, the optimizer's steps take this implementation."""
        if not isinstance(self.optimizer, AnchoredOptimizer):
            yield
            return
        for group in self.optimizer.param_groups:
            group["fused"], group["foreach"] = FLAGS[self.way]
        with implementations(*({self.way} & set(FUSED))):
            yield

    def available(self) -> bool:
        """Whether this machine has the implementation for all parameters."""
        if not isinstance(self.optimizer, AnchoredOptimizer):
            return True
        with self.chosen(), contextlib.suppress(RuntimeError):  # fused=True where there is none
            return self.optimizer.implementation == self.way
        return False


def ours(name: str, base: str, anchor: str, params: list[Parameter]) -> list[Contender]:
    """All implementations of one rule; they share the optimizer, whose state does not depend on them. Raises ValueError
    where the rule refuses the base or the dtype."""
    rule = RULES[name]
    optimizer = rule.cls(params, **BASES[base].options, base=base, anchor=anchor, **rule.options)
    accesses = BASES[base].accesses + (rule.more_zero if anchor == "zero" else rule.more)
    return [Contender(name, way, optimizer, accesses) for way in PATHS]


def torchs(base: str, way: str, params: list[Parameter]) -> Contender:
    """torch's own optimizer in one of its implementations: "fused", "foreach" or "loop"."""
    found = BASES[base]
    flags = {"fused": way == "fused", "foreach": way == "foreach"}
    return Contender(found.cls.__name__, way, found.cls(params, **found.options, **flags), found.accesses)


def schedule_free(params: list[Parameter]) -> Contender | None:
    """AdamW of the package schedulefree, which reads g, y, z, v and writes y, z, v; None where it is not installed."""
    try:
        package = importlib.import_module("schedulefree")
    except ModuleNotFoundError:
        return None
    optimizer = package.AdamWScheduleFree(params, **BASES["adamw"].options)
    optimizer.train()
    return Contender("schedule-free AdamW", "foreach", optimizer, 7)
