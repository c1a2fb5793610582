"""The folder of one seed's sets: made once, in a temporary folder that is renamed when complete, and checked."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.data.mini import draw, glyphs, scenes
from digrap.data.mini.vqa import adversary, far_twins, twins
from digrap.data.mini.vqa.files import write_sets
from digrap.data.mini.vqa.pictures import write_pictures
from digrap.data.mini.vqa.rows import Row
from digrap.data.mini.vqa.twins import Sizes

log = logging.getLogger(__name__)

VERSION = 2
"""Of the generator: raise it with any change that moves a pixel, a word or an answer."""

SUMS = "SHA256SUMS"  # `sha256sum --check` reads it
RECIPE = "minivqa.json"  # what the folder was made with


def sets_of(seed: int, sizes: Sizes) -> tuple[dict[str, list[Row]], dict[str, list[int]]]:
    """Return the rows of every set but VQA-CE by name, VQAv2's as vqav2_train and vqav2_val, and VQA-CE's lists."""
    train, val = (twins.vqav2(seed, part, getattr(sizes, part)) for part in ("train", "val"))
    sets = {"vqav2_train": train, "vqav2_val": val}
    for name in ("iv_vqa", "cv_vqa", "vqa_rephrasings"):
        sets[name] = getattr(twins, name)(seed, val, getattr(sizes, name))
    for name in ("vqa_cp", "advqa"):
        sets[name] = getattr(twins, name)(seed, getattr(sizes, name))
    for name in ("textvqa", "vizwiz", "ok_vqa"):
        sets[name] = getattr(far_twins, name)(seed, getattr(sizes, name))
    return sets, twins.vqa_ce(train, val)


def folder_of(root: Path, seed: int, sizes: Sizes) -> Path:
    """Return the folder of a seed's sets, whether it is there or not."""
    other = "" if sizes == Sizes() else f"-{hashlib.sha256(repr(sizes).encode()).hexdigest()[:8]}"
    return root / f"seed{seed}{other}"


def made(root: Path, seed: int, sizes: Sizes) -> Path:
    """Return the folder of a seed's sets below `root`, made where it is missing, damaged or of another version.

    What is not as it was written is moved aside, never deleted, and said. Raises DigrapError where nothing can be
    written.
    """
    recipe, folder = _recipe(seed, sizes), folder_of(root, seed, sizes)
    if folder.exists() and not _fault(folder, recipe):
        return folder  # which may lie where nothing can be written
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{folder.name}.lock"):  # the others wait, and find it made
            if folder.exists():
                if not (fault := _fault(folder, recipe)):
                    return folder  # another process has made it meanwhile
                log.warning("%s: %s; moved to %s and made again", folder, fault, _moved_aside(folder))
            _make(folder, seed, sizes, recipe)
    except OSError as error:
        raise DigrapError(f"{folder} cannot be written ({error}); give another data_root=…") from error
    return folder


def _recipe(seed: int, sizes: Sizes) -> dict:
    """Return what the content of a folder depends on."""
    versions = {"generator": VERSION, "scenes": scenes.VERSION, "drawing": draw.VERSION}
    shipped = {"glyphs": glyphs.GLYPHS_SHA256, "letters": glyphs.LETTERS_SHA256, "adversary": adversary.SHA256}
    return {"seed": seed, "sizes": asdict(sizes), "versions": versions, "shipped": shipped}


def _make(folder: Path, seed: int, sizes: Sizes, recipe: dict) -> None:
    part = folder.with_name(f".{folder.name}.part")
    if part.exists():  # ours, of a process that was killed or failed: the lock says that none is at work
        shutil.rmtree(part)
    log.info("%s: making the ten sets of seed %d, once", folder, seed)
    sets, listed = sets_of(seed, sizes)
    write_sets(part, sets, listed)
    write_pictures(part, seed, (row.picture for rows in sets.values() for row in rows))
    (part / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n")
    files = sorted(path for path in part.rglob("*") if path.is_file())
    (part / SUMS).write_text("".join(f"{sha256(path)}  {path.relative_to(part)}\n" for path in files))
    os.replace(part, folder)


def _fault(folder: Path, recipe: dict) -> str:
    """Return what is wrong with a folder, "" for nothing: a file that is missing or differs, or another recipe."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
        for line in lines:
            digest, _, name = line.partition("  ")
            if sha256(folder / name) != digest:
                return f"{name} is damaged (its sha256 differs)"
        found = json.loads((folder / RECIPE).read_text())
    except (OSError, ValueError) as error:
        return f"it is incomplete ({error})"
    return "" if found == recipe else "it was made with another version"


def _moved_aside(folder: Path) -> Path:
    place = next(at for at in range(1, 10**6) if not folder.with_name(f"{folder.name}.damaged{at}").exists())
    return folder.rename(folder.with_name(f"{folder.name}.damaged{place}"))
