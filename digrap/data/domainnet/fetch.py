"""Download of DomainNet's six zips and its cleaned lists to root/<domain> and root/cleaned."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.data.domainnet.facts import ARCHIVES, CLEANED, CLEANED_FOLDER, SITE, VERSIONS
from digrap.data.domainnet.pictures import report_path
from digrap.data.download.disk import file_size, lock_downloads, need_space
from digrap.data.download.fetch import Remote, base_url, fetch, forget
from digrap.data.download.unpack import unpack

log = logging.getLogger(__name__)


def fetch_all(
    root: Path, cleaned: bool, mirror: str | None = None, checksums: Path | None = None, keep_zips: bool = False
) -> list[str]:
    """Download what is missing: root/<domain> from six zips, one by one, and with `cleaned` root/cleaned/*.txt.

    `mirror` replaces the official address, `checksums` its sizes and md5 (see `remotes`). Without `keep_zips` the zips
    that were downloaded are deleted, those that were there stay. Returns the domains that were unpacked. After a
    DigrapError the same call resumes where it stopped.
    """
    remote = remotes(mirror, checksums)
    with lock_downloads(root):
        todo = {domain: remote(path) for domain, (path, *_) in ARCHIVES.items() if not (root / domain).is_dir()}
        _need_space(root, todo, keep_zips)
        if cleaned:
            for name in CLEANED:
                fetch(remote(f"{CLEANED_FOLDER}{name}.txt"), root / "cleaned" / f"{name}.txt")
        for number, (domain, source) in enumerate(todo.items(), 1):
            archive = _archive(root, domain)
            log.info("%s: %.2f GB, %d of %d", source.url, source.size / 1e9, number, len(todo))
            fetched = fetch(source, archive)
            unpack(archive, root, domain)
            for version in VERSIONS:  # the reports describe the files that are now replaced
                report_path(root, version).unlink(missing_ok=True)
            if fetched and not keep_zips:  # one that was there is perhaps the user's
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
            raise DigrapError(f"checksums={checksums}: needs mirror=URL; the official files' checksums are fixed")
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

    Without `keep_zips` only one downloaded zip is kept at a time. A zip of another size than the published one stays.
    """
    if not todo:
        return
    zips, there = [0], 0
    for domain, source in todo.items():
        if file_size(archive := _archive(root, domain)) != source.size:
            zips.append(source.size)
            there += file_size(archive.with_name(archive.name + ".part"))
    folders = sum(source.size for source in todo.values())
    need_space(root, folders + (sum(zips) if keep_zips else max(zips)) - there)


def _archive(root: Path, domain: str) -> Path:
    return root / "zips" / f"{domain}.zip"


def _tidy(folder: Path) -> None:
    """Remove the folder of the zips if it is empty; else log which zips are no longer needed."""
    if folder.is_dir():
        for part in folder.glob("*.part"):
            if (folder.parent / part.name.removesuffix(".zip.part")).is_dir():
                forget(part)
        if not any(folder.iterdir()):
            folder.rmdir()
        elif zips := sorted(path.name for path in folder.glob("*.zip")):  # of the user, or of keep_zips=true
            log.info("%s: %s is no longer needed and may be deleted", folder, ", ".join(zips))
