"""Download of DomainNet's six zips and its cleaned lists to root/<domain> and root/cleaned."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.data.domainnet.facts import ARCHIVES, CLEANED, CLEANED_FOLDER, SITE
from digrap.data.download.disk import lock_downloads, need_space
from digrap.data.download.fetch import Remote, base_url, fetch, forget
from digrap.data.download.unpack import unpack

log = logging.getLogger(__name__)


def fetch_all(
    root: Path, cleaned: bool, mirror: str | None = None, checksums: Path | None = None, keep_zips: bool = False
) -> list[str]:
    """Download what is missing: root/<domain> from six zips, one by one, and with `cleaned` root/cleaned/*.txt.

    `mirror` replaces the official address, `checksums` its sizes and md5 (see `remotes`). Returns the domains that were
    unpacked. After a DigrapError the same call resumes where it stopped.
    """
    remote = remotes(mirror, checksums)
    with lock_downloads(root):
        todo = {domain: remote(path) for domain, (path, *_) in ARCHIVES.items() if not (root / domain).is_dir()}
        _need_space(root, todo, keep_zips)
        if cleaned:
            for name in CLEANED:
                fetch(remote(f"{CLEANED_FOLDER}{name}.txt"), root / "cleaned" / f"{name}.txt")
        for old in root.glob("report-*.json") if todo else ():
            old.unlink()  # they describe the files that are now replaced
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
    """Return a function: path under the base address → Remote.

    `checksums` is a JSON file of {path: {size, md5}}, for a mirror of other files.
    Raises DigrapError for checksums without mirror: those of the official files are fixed.
    """
    known = {path: (size, md5) for path, size, md5 in ARCHIVES.values()}
    known |= {f"{CLEANED_FOLDER}{name}.txt": facts for name, facts in CLEANED.items()}
    if checksums:
        if not mirror:
            raise DigrapError(f"checksums={checksums}: goes with mirror=URL; the official files' checksums are fixed")
        known = _read_checksums(checksums)
    base = base_url(mirror or SITE)

    def remote(path: str) -> Remote:
        if path not in known:
            raise DigrapError(f"checksums={checksums}: has no entry for {path}; add its size and md5")
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
    """Raise DigrapError for too little space: images hardly compress, so a folder is as large as its zip.

    Without `keep_zips` only one zip is kept at a time.
    """
    if not todo:
        return
    sizes = [source.size for source in todo.values()]
    there = sum(path.stat().st_size for path in (root / "zips").glob("*.zip*"))
    need_space(root, sum(sizes) + (sum(sizes) if keep_zips else max(sizes)) - there)


def _tidy(folder: Path) -> None:
    """Remove the folder of the zips if it is empty; else log which zips are no longer needed."""
    if folder.is_dir():
        for part in folder.glob("*.part"):
            if (folder.parent / part.name.removesuffix(".zip.part")).is_dir():
                forget(part)
        if not any(folder.iterdir()):
            folder.rmdir()
        elif zips := sorted(path.name for path in folder.glob("*.zip")):  # of an earlier keep_zips=true
            log.info("%s: %s no longer needed, may be deleted", folder, ", ".join(zips))
