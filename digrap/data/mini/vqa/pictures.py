"""Pictures of the sets, drawn and stored as JPEG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from zlib import crc32

import torch
from PIL import Image
from torch import Tensor

from digrap.core.progress import track
from digrap.data.mini.scenes import draw_scenes, spoil
from digrap.data.mini.vqa.rows import STREAM, Picture
from digrap.data.mini.vqa.world import as_tensors

JPEG = {"format": "JPEG", "quality": 95, "subsampling": 0}
"""Colors in full: with blocks of 8 pixels and cells of 24, what is in one cell then moves no pixel of another."""


def write_pictures(root: Path, seed: int, pictures: Iterable[Picture]) -> None:
    """Draw each file once, in batches of one stream, style and defect. Raises OSError where they cannot be written."""
    distinct = list({picture.file: picture for picture in pictures}.values())
    batches = sorted(distinct, key=_batch)
    drawn = (pair for _, group in groupby(batches, key=_batch) for pair in _draw(seed, list(group)))
    for picture, pixels in track(drawn, f"minivqa: drawing (seed {seed})", total=len(batches), unit="pictures"):
        path = root / picture.file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, **JPEG)


def _batch(picture: Picture) -> tuple[str, str, str]:
    return picture.name, picture.style, picture.defect


def _draw(seed: int, pictures: list[Picture]) -> Iterator[tuple[Picture, Tensor]]:
    name, style, defect = _batch(pictures[0])
    key = (STREAM, seed, crc32(name.encode()))
    scenes = as_tensors([picture.scene for picture in pictures])
    words, indices = [picture.word for picture in pictures], [picture.index for picture in pictures]
    chunks = draw_scenes(scenes, style, key, words=words, indices=indices)
    if defect:
        chunks = iter([spoil(torch.cat(list(chunks)), defect, key)])
    done = 0
    for chunk in chunks:
        yield from zip(pictures[done : done + len(chunk)], chunk, strict=True)
        done += len(chunk)
