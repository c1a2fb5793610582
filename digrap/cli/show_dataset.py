"""Count a dataset's parts and draw a few of its pictures: `python scripts/show_dataset.py dataset=vqa_cp`.

dataset=             a VQA set (vqav2, iv_vqa, cv_vqa, vqa_rephrasings, vqa_cp, vqa_ce, advqa, textvqa, vizwiz,
                     ok_vqa), vqa_all for all ten, or any dataset of train.py (minidomainnet, vqa_json, …)
data_root=data       the folder of its files
source=official      for VQA sets: lists reads the authors' list files
undo_rotation=false  for TextVQA: turn the pictures that are stored rotated
examples=6           pictures on the sheet
seed=0               which ones
out=                 the sheet; default outputs/show/<dataset>.png
dataset.<key>=…      options of train.py's datasets
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from digrap.cli.arguments import check_flags, check_whole, with_overrides
from digrap.cli.datasets import dataset_config
from digrap.core.errors import DigrapError, nearest
from digrap.core.files import write_atomically
from digrap.core.paths import CONFIGS, DATA, OUTPUTS
from digrap.core.problems import Problems
from digrap.core.progress import console
from digrap.data.vqa.downloads import ALL
from digrap.data.vqa.sets import SETS

DEFAULTS = {
    "dataset": None, "data_root": str(DATA), "source": "official", "undo_rotation": False, "examples": 6, "seed": 0,
    "out": None,
}  # fmt: skip


@dataclass
class Parts:
    """A dataset's parts as torch Datasets by name, their kinds and class names, and problems of files by part."""

    data: Mapping[str, Any]
    kinds: Mapping[str, str]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: dict[str, Problems] = field(default_factory=dict)


def main() -> None:
    """Read, count, draw, and print the drawing's path."""
    options, overrides = with_overrides(sys.argv[1:], DEFAULTS)
    check(options, overrides)
    parts = load(options, overrides)

    from digrap.data.show import count_table, examples, sheet

    screen = console()
    screen.print(count_table(parts.data, parts.kinds))
    for name, found in parts.problems.items():
        for line in found.lines():
            screen.print(f"{name}: {line}")
    drawn = examples(parts.data, parts.classes, options.examples, options.seed)
    screen.print(f"an example, {drawn[0][1]}: {drawn[0][2]}")
    out = Path(str(options.out or OUTPUTS / "show" / f"{options.dataset}.png"))
    figure = sheet(drawn)
    write_atomically(out, lambda file: figure.savefig(file, format="png", bbox_inches="tight"))
    print(out)


def check(options: DictConfig, overrides: list[str]) -> None:
    """Raise DigrapError for an unknown dataset, and for options out of range or of another kind of dataset."""
    of_train = {path.stem for path in (CONFIGS / "dataset").glob("[!_]*.yaml")}
    known = [*SETS, ALL, *sorted(of_train - set(SETS))]
    if options.dataset not in known:
        raise DigrapError(f"dataset={options.dataset}: {nearest(str(options.dataset), known)}")
    check_flags(options, "undo_rotation")
    check_whole(options, examples=(1, 60), seed=(0, 2**32 - 1))
    if _is_vqa_set(options) and overrides:
        raise DigrapError(f"dataset={options.dataset}: dataset.<key>=… does not apply to VQA sets")
    if not _is_vqa_set(options) and (options.source != "official" or options.undo_rotation):
        raise DigrapError(f"dataset={options.dataset}: source= and undo_rotation= apply only to VQA sets")


def load(options: DictConfig, overrides: list[str]) -> Parts:
    """Load the parts of VQA sets, or the splits of one of train.py's datasets."""
    from digrap.data.show import load_sets  # torch: only once the options are known to be good
    from digrap.engine.build import build_data

    if _is_vqa_set(options):
        names = list(SETS) if options.dataset == ALL else [options.dataset]
        root, problems = Path(str(options.data_root)).expanduser() / "vqa", {}
        data = load_sets(root, names, options.source, problems, options.undo_rotation)
        return Parts(data, {key: SETS[key.split()[0]].kind for key in data}, problems=problems)
    module = build_data(dataset_config(options.dataset, options.data_root, overrides))
    data = {name: split.load() for name, split in module.splits.items()}
    kinds = {name: split.kind for name, split in module.splits.items()}
    return Parts(data, kinds, {name: module.classes_of(name) for name in module.splits})


def _is_vqa_set(options: DictConfig) -> bool:
    return options.dataset in SETS or options.dataset == ALL
