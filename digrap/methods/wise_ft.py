"""WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): the average of pre-trained and fine-tuned weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from digrap.methods.method import Context, Variant


@dataclass(frozen=True, kw_only=True)
class WiSE:
    """(1 − a) θ0 + a θ for every a in `curve` and for `alpha`, which is the chosen one; a in [0, 1].

    Floating-point buffers (the statistics of batch norm) are averaged as well; parameters without anchor stay at θ.
    Under LoRA the product ΔW = B A is scaled once, through B. The variants hold the names in `Context.before`: all
    other weights equal the pre-trained ones, and so does their average.

    Raises:
        ValueError: an a outside [0, 1]; when called, adapters that are not LoRA's.
    """

    alpha: float
    curve: tuple[float, ...] = ()

    def __post_init__(self):
        for a in self.points:
            if not 0.0 <= a <= 1.0:
                raise ValueError(f"alpha={a} is outside [0, 1]")

    @property
    def points(self) -> list[float]:
        """Every a, in ascending order."""
        return sorted({float(a) for a in (self.alpha, *self.curve)})

    def __call__(self, context: Context) -> Iterator[Variant]:
        after = _fitted(context)
        for a in self.points:
            weights = _scaled_adapters(after, a) if context.anchor == "zero" else _average(context, after, a)
            yield Variant(f"{a:g}", weights, a == self.alpha)


def _fitted(context: Context) -> dict[str, Tensor]:
    """Copies of the fitted values of what has a pre-trained one; of adapters, whatever trains as well."""
    names = set(context.before)
    if context.anchor == "zero":
        names |= {name for name, param in context.module.named_parameters() if param.requires_grad}
    return {name: value.detach().clone() for name, value in context.module.state_dict().items() if name in names}


def _average(context: Context, after: dict[str, Tensor], a: float) -> dict[str, Tensor]:
    """(1 − a) θ0 + a θ by name; integer buffers and parameters without anchor as fitted."""
    return {
        name: value
        if name in context.unanchored or not value.is_floating_point()
        else torch.lerp(context.before[name].to(value.device), value, a)  # exact at both ends
        for name, value in after.items()
    }


def _scaled_adapters(after: dict[str, Tensor], a: float) -> dict[str, Tensor]:
    """The fitted values with LoRA's B matrices times a. Raises ValueError where there are none."""
    second = {name for name in after if "lora_B" in name.split(".")}
    if not second:
        raise ValueError("WiSE-FT with anchor zero scales LoRA's B matrices, but the model has none")
    return {name: value * a if name in second else value for name, value in after.items()}
