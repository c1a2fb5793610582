"""From the network to root/<domain>: DomainNet's six zips and its cleaned lists."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.data.domainnet.facts import ARCHIVES, CLEANED, CLEANED_FOLDER, SITE
from digrap.data.download.fetch import Remote, alone, fetch, forget, need_space, server, unpack

log = logging.getLogger(__name__)


def fetch_all(
    root: Path, cleaned: bool, mirror: str | None = None, checksums: Path | None = None, keep_zips: bool = False
) -> list[str]:
    """Bring what is not there: root/<domain> of six zips, one after another, and with `cleaned` root/cleaned/*.txt.

    `mirror` replaces the official address, `checksums` its sizes and md5 (see `remotes`). Returns the domains that were
    unpacked. Raises DigrapError; the same call goes on from where it stopped.
    """
    remote = remotes(mirror, checksums)
    with alone(root):
        todo = {domain: remote(path) for domain, (path, *_) in ARCHIVES.items() if not (root / domain).is_dir()}
        _need_space(root, todo, keep_zips)
        if cleaned:
            for name in CLEANED:
                fetch(remote(f"{CLEANED_FOLDER}{name}.txt"), root / "cleaned" / f"{name}.txt")
        for old in root.glob("report-*.json") if todo else ():
            old.unlink()  # they tell of other files than those that will lie here
        for number, (domain, source) in enumerate(todo.items(), 1):
            archive = root / "zips" / f"{domain}.zip"
            log.info("%s: %.2f GB, %d of %d", source.url, source.size / 1e9, number, len(todo))
            fetch(source, archive)
            unpack(archive, root, domain)
            if not keep_zips:
                archive.unlink()
        if not keep_zips:
            _tidy(root / "zips")
    return list(todo)


def remotes(mirror: str | None, checksums: Path | None) -> Callable[[str], Remote]:
    """Path under the base address → its Remote. `checksums`: json of {path: {size, md5}}, for a mirror of other files.

    Raises DigrapError for checksums without mirror: the official files' are fixed.
    """
    known = {path: (size, md5) for path, size, md5 in ARCHIVES.values()}
    known |= {f"{CLEANED_FOLDER}{name}.txt": facts for name, facts in CLEANED.items()}
    if checksums:
        if not mirror:
            raise DigrapError(f"checksums={checksums}: goes with mirror=URL; the official files' checksums are fixed")
        known = _read_checksums(checksums)
    base = server(mirror or SITE)

    def remote(path: str) -> Remote:
        if path not in known:
            raise DigrapError(f"checksums={checksums}: says nothing of {path}; add its size and md5")
        return Remote(base + path, *known[path])

    return remote


def _read_checksums(path: Path) -> dict[str, tuple[int, str]]:
    try:
        table = json.loads(Path(path).read_text())
        return {name: (int(facts["size"]), str(facts["md5"]).lower()) for name, facts in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DigrapError(
            f'checksums={path}: cannot be read ({error!r}); give json: {{"real.zip": {{"size": 1, "md5": "…"}}, …}}'
        ) from error


def _need_space(root: Path, todo: dict[str, Remote], keep_zips: bool) -> None:
    """Images hardly compress: a folder takes what its zip does. Without `keep_zips` one zip lies there at a time."""
    if not todo:
        return
    sizes = [source.size for source in todo.values()]
    there = sum(path.stat().st_size for path in (root / "zips").glob("*.zip*"))
    need_space(root, sum(sizes) + (sum(sizes) if keep_zips else max(sizes)) - there)


def _tidy(folder: Path) -> None:
    """Remove the folder of the zips where nothing is left in it; say what whole zips are."""
    if folder.is_dir():
        for part in folder.glob("*.part"):
            if (folder.parent / part.name.removesuffix(".zip.part")).is_dir():
                forget(part)
        if not any(folder.iterdir()):
            folder.rmdir()
        elif zips := sorted(path.name for path in folder.glob("*.zip")):  # kept by an earlier start, perhaps on purpose
            log.info("%s: %s no longer needed, may be deleted", folder, ", ".join(zips))
