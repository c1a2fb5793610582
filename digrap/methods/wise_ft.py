"""WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): the average of pre-trained and fine-tuned weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from digrap.methods.method import Context, Variant


@dataclass(frozen=True, kw_only=True)
class WiSE:
    """(1 − a) θ0 + a θ for every a of `curve` and for `alpha`, the chosen one; a in [0, 1].

    Floating point buffers (batch norm's statistics) are averaged as well; parameters without anchor stay at θ. Under
    LoRA the product ΔW = B A is scaled once, through B. Raises ValueError for an a out of range.
    """

    alpha: float
    curve: tuple[float, ...] = ()

    def __post_init__(self):
        for a in self.points:
            if not 0.0 <= a <= 1.0:
                raise ValueError(f"alpha={a} is outside [0, 1]")

    @property
    def points(self) -> list[float]:
        """Every a, in order."""
        return sorted({float(a) for a in (self.alpha, *self.curve)})

    def __call__(self, context: Context) -> Iterator[Variant]:
        after = {name: value.detach().clone() for name, value in context.module.state_dict().items()}
        for a in self.points:
            weights = _scaled_adapters(after, a) if context.anchor == "zero" else _average(context, after, a)
            yield Variant(f"{a:g}", weights, a == self.alpha)


def _average(context: Context, after: dict[str, Tensor], a: float) -> dict[str, Tensor]:
    return {
        name: value
        if name in context.unanchored or not value.is_floating_point()
        else torch.lerp(context.before[name].to(value.device), value, a)  # exact at both ends
        for name, value in after.items()
    }


def _scaled_adapters(after: dict[str, Tensor], a: float) -> dict[str, Tensor]:
    second = {name for name in after if "lora_B" in name.split(".")}
    if not second:
        raise ValueError("WiSE-FT with anchor zero scales LoRA's B matrices, and the model has none")
    return {name: value * a if name in second else value for name, value in after.items()}
