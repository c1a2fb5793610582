"""How fast minivqa is made and answered on one core: scenes and questions a second.

    python tools/bench_minivqa.py [scenes=1200 questions=1000 backbone=tiny_paligemma]

Draws scenes in each style, then answers ID questions greedily and by the beam search of trainer.decoding=card.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from digrap.cli.arguments import bare_keys, check_whole
from digrap.cli.door import door
from digrap.cli.pretrain_minivqa import said
from digrap.config.compose import compose
from digrap.core.progress import track
from digrap.data.mini.scene_styles import STYLES
from digrap.data.mini.scenes import draw_scenes
from digrap.data.mini.vqa.pictures import write_pictures
from digrap.data.mini.vqa.twins import vqav2
from digrap.data.mini.vqa.world import as_tensors, sample_scenes
from digrap.engine.build import build_backbone

DEFAULTS = {"scenes": 1200, "questions": 1000, "backbone": "tiny_paligemma"}
KEY = (9, 0, 0)  # a stream that no data are drawn from


def rate(count: int, work: Callable[[], Iterable]) -> float:
    """Things a second, where `work` makes `count` of them."""
    began = time.perf_counter()
    for _ in work():
        pass
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    check_whole(options, scenes=(1, 10**6), questions=(1, 10**5))
    torch.set_num_threads(1)
    scenes = as_tensors(sample_scenes(np.random.default_rng(0), options.scenes))
    for style in STYLES:
        next(draw_scenes(scenes, style, KEY))  # glyphs are read once
        print(f"{style}: {rate(options.scenes, partial(draw_scenes, scenes, style, KEY)):,.0f} scenes/s")
    rows = vqav2(0, "val", options.questions)
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), 0, [row.picture for row in rows])
        pictures = [Image.open(Path(folder) / row.picture.file).convert("RGB") for row in rows]
    for decoding in track(("greedy", "card"), "decoding", unit="kinds"):
        cfg = compose(["dataset=minivqa", f"backbone={options.backbone}", "peft=none", f"trainer.decoding={decoding}"])
        backbone = build_backbone(cfg, ())
        with torch.no_grad():
            answered = rate(len(rows), partial(said, backbone, pictures, [row.text for row in rows]))
        print(f"{decoding}: {answered:,.0f} questions/s")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
