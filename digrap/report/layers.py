"""Statistics of layers over training, from runs' histories: taken together by layer and part of the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from digrap.report.scores import Scores
from digrap.runs.history import History

MANY = 40  # layers, from which on they are taken together by block
VISION = re.compile(r"vision|visual|image_encoder|\bvit\b", re.IGNORECASE)
BLOCK = re.compile(r"(.*?\.\d+)\..*")
USUAL = {"model", "base_model", "vision_tower", "vision_model", "language_model", "encoder", "layers", "self_attn"}
HOLDERS = {"bert", "layer", "blocks", "self", "attn", "visual_encoder"}
ADAPTER = ".default.weight"


def parted(names: Iterable[str]) -> dict[str, list[str]]:
    """Part of the model → its tensors or layers: vision and language, or `all layers` where nothing is vision."""
    names = list(names)
    vision = [name for name in names if VISION.search(name)]
    others = [name for name in names if name not in vision]
    return {"vision layers": vision, "language layers": others} if vision else {"all layers": others}


def readable(names: Iterable[str]) -> dict[str, str]:
    """Name of a layer or tensor → what a reader needs of it within its part of the model: without the words of modules
    that hold others, and the end of an adapter's name; as it is where another one would be named alike."""
    short = {
        name: ".".join(part for part in name.removesuffix(ADAPTER).split(".") if part not in USUAL | HOLDERS)
        for name in names
    }
    count = Counter(short.values())
    return {name: text if text and count[text] == 1 else name for name, text in short.items()}


def histories_of(scores: Scores) -> dict[str, list[History]]:
    """Row → the statistics of layers of its runs that have some."""
    histories: dict[str, list[History]] = {row: [] for row in scores.table.rows}
    for run in scores.runs:
        if (history := run.history()) is not None:
            histories[run.row].append(history)
    return histories


def mean_over_seeds(runs: list[History], statistic: str, axis: str = "steps") -> pd.DataFrame | None:
    """A statistic of layers, steps (or ends of epochs) × tensors, its mean over runs; None where no run has it."""
    frames = [_frame(run, statistic, axis) for run in runs if statistic in run.values]
    if not frames or all(frame.empty for frame in frames):
        return None
    together = pd.concat(frames)
    return together.groupby(level=0).mean()[list(dict.fromkeys(together.columns))]


def _frame(run: History, statistic: str, axis: str) -> pd.DataFrame:
    """Without the records and the tensors that have none of it; of each epoch the last record."""
    frame = pd.DataFrame(run.values[statistic].astype(float), index=getattr(run, axis), columns=list(run.tensors))
    frame = frame.dropna(axis=0, how="all").dropna(axis=1, how="all")
    return frame[~frame.index.duplicated(keep="last")]


def by_layer(
    histories: Mapping[str, list[History]], statistic: str, axis: str = "epochs", apart: bool = False
) -> dict[str, dict[str, pd.DataFrame]]:
    """Part of the model → row → epochs (or steps) × layers of a statistic, a mean over runs; of ‖δ‖ the root of the
    squares' sum over a layer's tensors, of others their mean. Parts are vision and language, or `all layers` where
    nothing is vision. Layers are taken together by block where the rows have many, or, `apart`, the row itself."""
    frames = {row: mean_over_seeds(runs, statistic, axis) for row, runs in histories.items()}
    frames = {row: frame for row, frame in frames.items() if frame is not None}
    names = list(dict.fromkeys(name for frame in frames.values() for name in frame.columns))
    result = {}
    for part, tensors in parted(names).items():
        together = _layers(tensors)
        for row, frame in frames.items():
            if own := [name for name in frame.columns if name in together]:
                values, layers = frame[own], _layers(own) if apart else together
                groups = (values**2 if statistic == "norm" else values).T.groupby(layers, sort=False)
                made = groups.sum() ** 0.5 if statistic == "norm" else groups.mean()
                result.setdefault(part, {})[row] = made.T
    return result


def _layers(tensors: list[str]) -> dict[str, str]:
    """Tensor → the layer that it belongs to, or its block where there are many layers, by a short name."""
    modules = {
        name: name.partition(".lora_")[0] if ".lora_" in name else name.rpartition(".")[0] or name for name in tensors
    }
    if len(set(modules.values())) > MANY:
        modules = {name: BLOCK.sub(r"\1", module) for name, module in modules.items()}
    short = {module: ".".join(part for part in module.split(".") if part not in USUAL) for module in modules.values()}
    clear = all(short.values()) and len(set(short.values())) == len(short)
    return {name: short[module] for name, module in modules.items()} if clear else modules
