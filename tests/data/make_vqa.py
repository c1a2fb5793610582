"""Ten small VQA sets in their official release formats, and the records that a reader has to return for them.

`python -m tests.data.make_vqa FOLDER [SCALE]` writes them; the functions after `make` spoil them for a test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.data.vqa_world import World
from tests.data.vqa_world_sets import BUILDERS


class Made(NamedTuple):
    """The sets on disk: `data_root` is the folder given, `root` its vqa/. `expected` maps "<set>/<part>" to the fields
    that the part's records must have."""

    data_root: Path
    root: Path
    expected: dict[str, list[dict]]


def make(folder: Path, scale: int = 1, seed: int = 0) -> Made:
    """Write the ten sets under folder/vqa. They grow with `scale`; further pictures repeat the scenes of scale 1."""
    world = World(Path(folder) / "vqa", scale, seed)
    for build in BUILDERS:
        build(world)
    world.shuffled("vqav2/vqa_train.json", "vqav2/train", drop=1)  # as LAVIS's, which has fewer than the official file
    world.shuffled("vqav2/vqa_val.json", "vqav2/val")
    world.shuffled("vqa_ce/combined_data_subset.json", "vqa_ce/counterexamples")
    for name, part in (key.split("/") for key in world.expected):
        if name not in ("vqav2", "vqa_ce") and part != "train":
            world.shuffled(f"{name}/combined_data.json", f"{name}/{part}")
    return Made(Path(folder), world.root, world.expected)


def truncate(path: Path) -> None:
    """Cut off the last fifth, as a download that broke off."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])


def not_utf8(path: Path) -> None:
    """Put a Latin-1 letter before the last quotation mark: still JSON, but not UTF-8."""
    before, mark, after = path.read_bytes().rpartition(b'"')
    path.write_bytes(before + "é".encode("latin-1") + mark + after)


def drop_annotation(path: Path, index: int) -> None:
    """Remove an entry of annotations, of questions, or of a bare list."""
    _edit(path, lambda entries: entries.pop(index))


def duplicate(path: Path, index: int) -> None:
    """Repeat an entry after itself."""
    _edit(path, lambda entries: entries.insert(index, entries[index]))


def _edit(path: Path, change: Callable[[list], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content if isinstance(content, list) else next(part for part in content.values() if isinstance(part, list)))
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def remove_image(made: Made, key: str, index: int = 0) -> Path:
    """Delete the picture of an expected record, and with it that of other questions about it."""
    (path := made.root / made.expected[key][index]["image"]).unlink()
    return path


if __name__ == "__main__":
    made = make(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
    for key, facts in made.expected.items():
        print(f"{key}: {len(facts)} questions, {made.root / key.split('/')[0]}")
