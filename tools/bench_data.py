"""How close the loader comes to bare decoding: images a second on one core.

    python tools/bench_data.py [dataset=domainnet data_root=data backbone=moco_resnet50 split=real_train images=500]
    python tools/bench_data.py synthetic=300 [side=500]     JPEGs made here, where there is no data

Reads the same files in turn, round by round: decode and resize with PIL alone, and through everything a training run
has (dataset, the backbone's training transform with its fixed randomness, batches of 64). Prints both and the median of
their ratio; workers multiply both.
"""

import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.config.compose import compose
from digrap.core.errors import DigrapError, nearest
from digrap.core.progress import track
from digrap.data.class_folders import Pictures
from digrap.engine.build import build_backbone, build_data, build_task
from digrap.engine.loaders import train_batches

DEFAULTS = {
    "dataset": "domainnet", "data_root": "data", "backbone": "moco_resnet50", "split": "real_train", "images": 500,
    "synthetic": 0, "side": 500, "rounds": 5, "batch": 64,
}  # fmt: skip
RESIZED = 256  # pixels of the shorter side that the bare decoding is resized to


def photographs(folder: Path, count: int, side: int) -> Pictures:
    """JPEGs of about `side` pixels with the smoothness of photographs, as one class of a picture folder."""
    random = np.random.default_rng(0)
    (folder / "thing").mkdir(parents=True)
    for number in track(range(count), "making", unit="pictures"):
        coarse = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side, side * 3 // 4), Image.Resampling.BICUBIC)
        grain = random.normal(0, 6, (side * 3 // 4, side, 3))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "thing" / f"{number:05d}.jpg", quality=90)
    return Pictures(folder, {"thing": 0})


def bare(paths: list[str], kind: Image.Resampling) -> float:
    """Images a second of PIL alone: decode to RGB, resize the shorter side with the transform's interpolation."""
    start = time.perf_counter()
    for path in paths:
        with Image.open(path) as file:
            image = file.convert("RGB")
        scale = RESIZED / min(image.size)
        image.resize([round(length * scale) for length in image.size], kind)
    return len(paths) / (time.perf_counter() - start)


def loaded(data, transform, collate, count: int, batch: int, epoch: int) -> float:
    """Images a second of the training loader in this process, batches included."""
    batches = train_batches(
        data, transform, collate, seed=0, epoch=epoch, start=0, limit=count // batch, batch_size=batch,
        micro_batch=batch, rank=0, world=1, workers=0, pin=False,
    )  # fmt: skip
    start = time.perf_counter()
    seen = sum(part.size for part in batches)
    return seen / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = bare_keys(sys.argv[1:], DEFAULTS)
    torch.set_num_threads(1)
    overrides = [f"dataset={options.dataset}", f"data_root={options.data_root}", f"backbone={options.backbone}"]
    cfg = compose([*overrides, "backbone.pretrained=false"])
    backbone = build_backbone(cfg, ("thing",))
    transform, collate = backbone.train_transform, build_task(cfg, backbone, ("thing",)).collate
    interpolation = transform.transforms[0].interpolation  # torchvision's enumeration, or its value
    kind = Image.Resampling[str(getattr(interpolation, "value", interpolation)).upper()]
    with tempfile.TemporaryDirectory() as folder:
        if options.synthetic:
            data = photographs(Path(folder), options.synthetic, options.side)
            paths = [path for path, _ in data.samples]
        else:
            splits = build_data(cfg).splits
            if options.split not in splits:
                raise DigrapError(f"split={options.split}: there is no such split; {nearest(options.split, splits)}")
            data = splits[options.split].load()
            paths = [f"{data.root}/{path}" for path, _ in data.samples]
        count = min(options.images, len(paths)) // options.batch * options.batch
        if not count:
            raise DigrapError(f"{len(paths)} images are fewer than a batch of {options.batch}; give a smaller batch=")
        data = torch.utils.data.Subset(data, range(count))
        rounds = [
            (bare(paths[:count], kind), loaded(data, transform, collate, count, options.batch, epoch))
            for epoch in track(range(options.rounds), "measuring", unit="rounds")
        ]
    alone, whole = (statistics.median(values) for values in zip(*rounds, strict=True))
    ratio = statistics.median(second / first for first, second in rounds)
    print(f"{count} images, one core: bare decode and resize {alone:.0f}/s, loader {whole:.0f}/s, ratio {ratio:.2f}")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
