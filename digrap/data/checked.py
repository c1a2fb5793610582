"""A dataset whose picture files were looked at: broken ones end the run before it begins, or are left out."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from torch.utils.data import Dataset

from digrap.core.counted import counted
from digrap.core.errors import DigrapError
from digrap.data.headers import Found, look_at
from digrap.data.splits import DataModule, Part

log = logging.getLogger(__name__)
SHOWN = 5


def with_checked_pictures(data: DataModule, names: Iterable[str], skip: bool, cache: Path) -> DataModule:
    """`data` with the named splits loaded and every picture file of theirs looked at.

    A split is looked at where its dataset has `files`, the path of each example's picture, and `read`, which reads one.
    Broken pictures are left out where `skip`: `pictures` and the caveats of the result count them. Raises DigrapError
    that names them otherwise, and where a split has no picture left.
    """
    names, loaded, found = tuple(names), {}, {}
    for name in names:
        loaded[name] = data.splits[name].load()
        if hasattr(loaded[name], "files"):
            found[name] = look_at(loaded[name].files, loaded[name].read, name, cache)
    if not skip:
        _refuse(found)
    splits, counts = dict(data.splits), {}
    for name, one in loaded.items():
        part = _readable(name, one, found[name]) if name in found and found[name].broken else one
        splits[name] = replace(data.splits[name], load=lambda part=part: part)
        if name in found:
            counts[name] = {"files": len(found[name].stamps), "moving": len(found[name].moving)}
            counts[name] |= {"skipped": len(one) - len(part)} if len(part) < len(one) else {}
    _tell(found)
    result = replace(data, splits=splits, pictures=counts)
    if not (skipped := result.skipped):
        return result
    listed = ", ".join(f"{count} of {name}" for name, count in skipped.items())
    caveat = f"left out because their picture cannot be read: {listed}"
    return replace(result, caveats=(*data.caveats, caveat))


def _readable(name: str, data: Dataset, found: Found) -> Part:
    places = [place for place, file in enumerate(data.files) if file not in found.broken]
    if not places:
        raise DigrapError(f"split {name}: none of its {len(data)} pictures can be read; {_first(found)}")
    return Part(data, places)


def _refuse(found: dict[str, Found]) -> None:
    """Raise DigrapError where a picture is broken."""
    broken = {name: one for name, one in found.items() if one.broken}
    if broken:
        count = len({file for one in broken.values() for file in one.broken})
        lines = [f"  {name}: {len(one.broken)} of {len(one.stamps)}: {_first(one)}" for name, one in broken.items()]
        text = f"{counted(count, 'picture')} cannot be read; repair or remove them, or add dataset.on_broken=skip"
        raise DigrapError("\n".join([text, *lines]))


def _first(found: Found) -> str:
    """The first broken files and what is wrong with each."""
    texts = list(found.broken.values())
    return "; ".join(texts[:SHOWN]) + (f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _tell(found: dict[str, Found]) -> None:
    if not found:
        return
    files = {file for one in found.values() for file in one.stamps}
    broken = {file for one in found.values() for file in one.broken}
    log.info(
        "pictures: %s in %s, %d of them cannot be read", counted(len(files), "file"), counted(len(found), "split"),
        len(broken),
    )  # fmt: skip
    for name, one in found.items():
        if one.broken:
            log.warning("%s: %s left out: %s", name, counted(len(one.broken), "picture"), _first(one))
        if one.moving:
            some = sorted(one.moving)[:SHOWN]
            more = ", …" if len(one.moving) > SHOWN else ""
            log.warning("%s: %d animated pictures, of which only the first frame is used: %s%s", name, len(one.moving),
                        ", ".join(some), more)  # fmt: skip
