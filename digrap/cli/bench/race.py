"""Rounds in which optimizers take a step in turn, and the row of a table that each of them gets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from digrap.cli.bench.contenders import RULES, Contender, ours, schedule_free, torchs
from digrap.cli.bench.measures import calls, peak_bytes, state_bytes, timed
from digrap.cli.bench.shapes import Shapes
from digrap.core.progress import track

ALIGN = 16  # elements: gradients begin at multiples of this, as tensors of their own do


@dataclass(frozen=True)
class Setting:
    """How a table is measured: `rounds` are counted, after `warmup` others."""

    base: str
    device: torch.device
    dtype: torch.dtype
    rounds: int
    warmup: int


@dataclass
class Row:
    """One implementation of one optimizer. What was not measured is None from `ratio` on, and `note` says why.

    `bytes`: what a step must move at most, a parameter; `ratio`: median of its step time over the reference's of the
    same round; `bandwidth`: bytes over time, beside the same of a memory copy; `state` and `extra` (memory that a step
    takes for a while): bytes a byte of parameters; `calls` and `reads` as `measures.Calls` counts them.
    """

    optimizer: str
    implementation: str
    bytes: int | None
    ratio: float | None = None
    milliseconds: float | None = None
    bandwidth: float | None = None
    state: float | None = None
    extra: float | None = None
    calls: int | None = None
    reads: int | None = None
    note: str = "not measured: not available here"


class Copy(Optimizer):
    """A copy of as much memory as the parameters take, in the place of a step."""

    def __init__(self, count: int, setting: Setting):
        self.source = torch.ones(count, device=setting.device, dtype=setting.dtype)
        self.target = torch.zeros_like(self.source)
        super().__init__([Parameter(self.target)], {})

    def step(self) -> None:
        self.target.copy_(self.source)


class Material:
    """Parameters of the given shapes, and random gradients that differ from round to round, as those of training do:
    windows on one long tensor, which all optimizers share."""

    def __init__(self, shapes: Shapes, setting: Setting):
        self.shapes, self.setting = shapes, setting
        self.generator = torch.Generator(setting.device).manual_seed(0)
        self.starts = [0]
        for shape in shapes.tensors:
            self.starts.append(self.starts[-1] + -(-prod(shape) // ALIGN) * ALIGN)
        self.gradients = self._random(self.starts.pop() + ALIGN * (setting.rounds + setting.warmup), 1e-3)

    def _random(self, size: int | tuple[int, ...], scale: float) -> Tensor:
        place = {"device": self.setting.device, "generator": self.generator}
        return torch.randn(size, **place).mul_(scale).to(self.setting.dtype)

    def params(self) -> list[Parameter]:
        """New parameters with gradients."""
        params = [Parameter(self._random(shape, 0.02)) for shape in self.shapes.tensors]
        self.give(params, 0)
        return params

    def give(self, params: Iterable[Parameter], number: int) -> None:
        """Give the parameters their gradients of a round."""
        for param, start in zip(params, self.starts, strict=True):
            first = start + ALIGN * number
            param.grad = self.gradients[first : first + param.numel()].view(param.shape)


def race(contenders: list[Contender], material: Material, title: str) -> list[list[float]]:
    """Seconds of every contender's step in each counted round; one list a contender.

    Each takes an untimed step before: what an implementation keeps from its own last step is there in training too.
    """
    setting, times = material.setting, [[] for _ in contenders]
    optimizers = {id(one.optimizer): one.optimizer for one in contenders if not isinstance(one.optimizer, Copy)}
    for number in track(range(setting.warmup + setting.rounds), title, unit="rounds"):
        for optimizer in optimizers.values():
            material.give(optimizer.param_groups[0]["params"], number)
        for contender, own in zip(contenders, times, strict=True):
            with contender.chosen():
                contender.optimizer.step()
                own.append(timed(contender.optimizer.step, setting.device))
    return [own[setting.warmup :] for own in times]


def table(shapes: Shapes, setting: Setting, names: Iterable[str] = RULES) -> list[Row]:
    """The rows of a table: torch's implementations, of which the fused one, the reference, is the first; a memory copy;
    the rules named.

    One rule at a time is measured beside the reference, so that memory must hold no more than these two.
    """
    material, size = Material(shapes, setting), setting.dtype.itemsize
    reference = torchs(setting.base, "fused", material.params())
    rows = _torchs_rows(reference, material)
    copied = rows[-1].ratio
    for name in names:
        rows += _rule_rows(name, reference, material)
    for row in rows:
        if row.ratio is not None:
            row.bandwidth = row.bytes / (2 * size) * copied / row.ratio
    return rows


def _torchs_rows(reference: Contender, material: Material) -> list[Row]:
    """Rows of torch's optimizer, of the schedule-free one, and of a memory copy, which is the last."""
    base = material.setting.base
    present = [reference, *(torchs(base, way, material.params()) for way in ("foreach", "loop"))]
    free = schedule_free(material.params()) if base == "adamw" else None
    copy = Contender("memory copy", "", Copy(material.shapes.count, material.setting), 2)
    present += [free, copy] if free else [copy]
    times = race(present, material, "torch's own")
    rows = [_row(one, own, times[0], material) for one, own in zip(present, times, strict=True)]
    if base == "adamw" and free is None:
        note = "not measured: `pip install schedulefree` brings it"
        rows.insert(-1, Row("schedule-free AdamW", "foreach", rows[0].bytes, note=note))
    return rows


def _rule_rows(name: str, reference: Contender, material: Material) -> list[Row]:
    """Rows of all implementations of one rule."""
    setting = material.setting
    try:
        every = ours(name, setting.base, material.shapes.anchor, material.params())
    except ValueError as refusal:
        return [Row(name, "", None, note=f"not measured: {refusal}")]
    present = [one for one in every if one.available()]
    times = race([reference, *present], material, name)
    found = {one.way: _row(one, own, times[0], material) for one, own in zip(present, times[1:], strict=True)}
    return [found.get(one.way) or Row(name, one.way, one.accesses * setting.dtype.itemsize) for one in every]


def _row(one: Contender, times: list[float], reference: list[float], material: Material) -> Row:
    ratio = statistics.median(own / other for own, other in zip(times, reference, strict=True))
    setting, size = material.setting, material.setting.dtype.itemsize
    row = Row(one.name, one.way, one.accesses * size, ratio, 1e3 * statistics.median(times), note="")
    if not isinstance(one.optimizer, Copy):
        size *= material.shapes.count
        with one.chosen():
            row.extra = peak_bytes(one.optimizer.step, setting.device) / size
            found = calls(one.optimizer)
        row.state, row.calls, row.reads = state_bytes(one.optimizer) / size, found.count, found.reads
    return row
