"""Checks of the downloaded images (each listed one decodes; of which mode it is), and smaller copies of them."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.progress import track
from digrap.data.domainnet.dataset import absent_images, absent_message
from digrap.data.domainnet.facts import ARCHIVES
from digrap.data.domainnet.lists import Entry, Lists, check_labels, class_names, used_lists
from digrap.data.download.disk import need_space, put_in_place
from digrap.data.images import read_picture, read_truncated

log = logging.getLogger(__name__)
QUALITY = 95


def verify(root: Path, source: Lists, workers: int) -> dict[str, Any]:
    """Return a report on every image of the lists: {images, missing, broken, truncated, modes, …}. Reads only.

    missing: no file. broken: nothing of it decodes. truncated: cut short, its start is used. modes: how many are L
    (greyscale), P (palette), CMYK … in PIL's names. Raises DigrapError for lists that contradict each other.
    """
    entries = listed(source)
    images = sorted({image for image, _ in entries})
    missing = absent_images(root, entries)
    gone, modes, states = set(missing), Counter(), {"broken": [], "truncated": []}
    there = [image for image in images if image not in gone]
    for image, (mode, state) in zip(there, _parallel(partial(examine, root), there, workers, "decoding"), strict=True):
        modes[mode] += 1
        if state != "whole":
            states[state].append(image)
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": source.version,
        "lists": str(source.folder or "published"),
        "listed": fingerprint(images),
        "images": len(images),
        "missing": sorted(gone),
        **states,
        "modes": dict(modes.most_common()),
    }


def listed(source: Lists) -> list[Entry]:
    """Return the entries of all lists that the dataset's config uses. Raises DigrapError where their labels differ."""
    train = source.read("real", "train")
    names, entries = class_names(train, source.place), list(train)
    for domain, part in used_lists():
        if (domain, part) != ("real", "train"):
            more = source.read(domain, part)
            check_labels(more, names, source.place / f"{domain}_{part}")
            entries += more
    return entries


def fingerprint(images: list[str]) -> str:
    """Return the sha256 of the sorted paths, which tells whether a report is about these images."""
    return sha256("\n".join(sorted(images)).encode()).hexdigest()


def check_report(root: Path, report: dict[str, Any]) -> None:
    """Raise DigrapError where images are missing or broken."""
    if report["missing"]:
        raise DigrapError(absent_message(root, report["missing"], report["images"]))
    if broken := report["broken"]:
        first = ", ".join(broken[:3]) + (" …" if len(broken) > 3 else "")
        raise DigrapError(
            f"{root}: {len(broken)} of {report['images']} listed images cannot be decoded: {first}; delete their "
            "domains' folders (root/<domain>) and run the command again, which downloads them again"
        )


def examine(root: Path, image: str) -> tuple[str, str]:
    """Return PIL's mode of the file ('?' if unknown) and its state: whole, truncated or broken."""
    path, mode = root / image, "?"
    try:
        with Image.open(path) as file:
            mode = file.mode
        read_picture(path)
        return mode, "whole"
    except (OSError, DigrapError, SyntaxError, ValueError, Image.DecompressionBombError):
        try:
            read_truncated(path)
            return mode, "truncated"
        except DigrapError:
            return mode, "broken"


def shrink(root: Path, target: Path, side: int, workers: int) -> int:
    """Write copies of all images at `root`, with a shorter side of `side` pixels, to `target`; return their number.

    Names and formats stay, colours are RGB, JPEG quality is 95; an image that is not larger is copied as it is. A
    domain is written to .<domain>.partial, which the next call resumes, and renamed when whole. Unreadable files are
    left out and named in the log. Raises DigrapError for a side out of range and for too small a disk.
    """
    check_side(side)
    made = 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        for domain in sorted(ARCHIVES):
            if (target / domain).is_dir() or not (root / domain).is_dir():
                continue
            images = [f"{path.parent.name}/{path.name}" for path in sorted((root / domain).glob("[!.]*/[!.]*"))]
            need_space(target, 20_000 * len(images))  # 256 px at quality 95 is about that
            partial_folder = target / f".{domain}.partial"
            partial_folder.mkdir(exist_ok=True)
            for unfinished in partial_folder.glob(".*"):
                unfinished.unlink()
            work = partial(shrink_one, root / domain, partial_folder, side)
            outcomes = _parallel(work, images, workers, f"shrinking {domain}")
            lost = [image for image, fine in zip(images, outcomes, strict=True) if not fine]
            if lost:
                log.warning("%s: %d files cannot be read and are left out: %s", domain, len(lost), ", ".join(lost[:3]))
            os.sync()
            partial_folder.rename(target / domain)
            made += len(images) - len(lost)
        if (root / "cleaned").is_dir():
            _copy_lists(root / "cleaned", target / "cleaned")
    except OSError as error:
        raise DigrapError(f"{target}: cannot be written ({error}); make room or give shrink_to=DIR") from error
    return made


def _copy_lists(source: Path, target: Path) -> None:
    """Copy the lists that `target` does not have, or has otherwise: such a one is kept under another name."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.glob("*.txt")):
        there, part = target / path.name, target / f"{path.name}.part"
        if not there.is_file() or there.read_bytes() != path.read_bytes():
            shutil.copyfile(path, part)
            put_in_place(part, there)


def check_side(side: object) -> None:
    """Raise DigrapError unless `side` is a whole number of pixels from 32 to 2048."""
    if isinstance(side, bool) or not isinstance(side, int) or not 32 <= side <= 2048:
        raise DigrapError(f"shrink={side}: give the shorter side in pixels, a whole number from 32 to 2048")


def shrink_one(source: Path, target: Path, side: int, image: str) -> bool:
    """Write target/image unless it exists; return whether the source could be read."""
    path = target / image
    if path.exists():
        return True
    try:
        picture = read_truncated(source / image)
    except DigrapError:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = side / min(picture.size)
    handle, temporary = tempfile.mkstemp(dir=target, prefix=".", suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as file:  # no fsync per image: `shrink` syncs before it renames the folder
            if scale >= 1:
                file.write((source / image).read_bytes())
            else:
                size = tuple(max(side, round(length * scale)) for length in picture.size)
                small = picture.resize(size, Image.Resampling.BICUBIC)
                form = "PNG" if path.suffix.lower() == ".png" else "JPEG"
                small.save(file, form, **({"quality": QUALITY, "subsampling": 0} if form == "JPEG" else {}))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True


def _parallel(work: Callable, items: list[str], workers: int, name: str) -> Iterator[Any]:
    """Yield work(item) in order, computed by `workers` processes, with progress; by this process for workers=1."""
    if workers <= 1:
        yield from track(map(work, items), name, total=len(items), unit="images")
        return
    pool = ProcessPoolExecutor(workers)
    try:
        yield from track(pool.map(work, items, chunksize=64), name, total=len(items), unit="images")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # after Ctrl-C no waiting item is begun


def report_path(root: Path, version: str) -> Path:
    """Return the place of the report on the images of a version's lists."""
    return root / f"report-{version}.json"


def save_report(path: Path, report: dict[str, Any]) -> bool:
    """Write the report and return True; where it cannot be written, log a warning and return False."""
    try:
        write_json(path, report)
    except OSError as error:
        log.warning("%s: the report cannot be written (%s)", path, error)
        return False
    return True


def read_report(path: Path, images: list[str]) -> dict[str, Any] | None:
    """Return an earlier report on these images that found none missing or broken; None where there is none."""
    try:
        report = json.loads(path.read_text())
        fine = report["listed"] == fingerprint(images) and not report["missing"] and not report["broken"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report if fine else None
