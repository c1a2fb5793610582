"""Fetch, check and shrink a dataset's images: `python scripts/download.py dataset=domainnet`.

    data_root=data          the images go to data_root/domainnet
    version=original        cleaned: fetches the cleaned lists too, and checks their images
    mirror=URL              another base address with the same files
    checksums=FILE          json {path: {size, md5}} of a mirror with other files (tests)
    keep_zips=false         true: data_root/domainnet/zips is kept
    verify_only=true        fetches nothing, writes only the report; a read-only data_root will do
    lists=DIR               one's own lists, as dataset.lists=DIR of train.py
    shrink=256              then copies of 256 px on the shorter side into data_root/domainnet-256 (or shrink_to=DIR)
    workers=0               processes that decode; 0: one a core

Start it again at any time: it goes on where it stopped and does only what is missing. See docs/domainnet.md.
"""

import json
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digrap.cli import bare_keys, door, nearest  # noqa: E402
from digrap.data.domainnet.dataset import absent_images, missing_message  # noqa: E402
from digrap.data.domainnet.facts import ARCHIVES  # noqa: E402
from digrap.data.domainnet.fetch import fetch_all  # noqa: E402
from digrap.data.domainnet.lists import Lists  # noqa: E402
from digrap.data.domainnet.pictures import check_side, complain, fingerprint, listed, save_report, shrink, verify  # noqa: E402
from digrap.errors import DigrapError  # noqa: E402

DEFAULTS = {
    "dataset": "domainnet",
    "data_root": "data",
    "version": "original",
    "mirror": None,
    "checksums": None,
    "keep_zips": False,
    "verify_only": False,
    "lists": None,
    "shrink": None,
    "shrink_to": None,
    "workers": 0,
}
log = logging.getLogger("download")


def main() -> None:
    """Fetch what is missing, check what is new, shrink where asked to."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = bare_keys(sys.argv[1:], DEFAULTS)
    if options.dataset != "domainnet":
        raise DigrapError(
            f"dataset={options.dataset}: nothing to fetch for it; {nearest(str(options.dataset), ['domainnet'])}"
        )
    for key in ("keep_zips", "verify_only"):
        if not isinstance(options[key], bool):
            raise DigrapError(f"{key}={options[key]}: give true or false")
    if isinstance(options.workers, bool) or not isinstance(options.workers, int) or options.workers < 0:
        raise DigrapError(f"workers={options.workers}: give a whole number, 0 for one a core")
    if options.shrink is not None:
        check_side(options.shrink)
    root = Path(str(options.data_root)).expanduser() / "domainnet"
    source = Lists(options.version, root, Path(str(options.lists)).expanduser() if options.lists else None)
    report = root / f"report-{options.version}.json"
    workers = options.workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    if options.verify_only:
        if absent := [domain for domain in sorted(ARCHIVES) if not (root / domain).is_dir()]:
            raise DigrapError(missing_message(root, absent))
    else:
        cleaned = options.version == "cleaned" and not options.lists
        checksums = Path(str(options.checksums)).expanduser() if options.checksums else None
        fetch_all(root, cleaned, options.mirror and str(options.mirror), checksums, options.keep_zips)
    check(root, source, report, workers, again=options.verify_only)
    if options.shrink is not None:
        target = Path(str(options.shrink_to or f"{root}-{options.shrink}")).expanduser()
        print(f"{target}: {shrink(root, target, options.shrink, workers)} images made; use dataset.root={target}")


def check(root: Path, source: Lists, path: Path, workers: int, again: bool) -> None:
    """Decode every listed image, unless a report says that it was done and none has gone since."""
    entries = listed(source)
    report = None if again else read_report(path, [image for image, _ in entries])
    if report and not absent_images(root, entries):
        print(f"{root}: whole, {report['images']} images checked at {report['made']} ({path})")
        return
    report = verify(root, source, workers)
    saved = f" ({path})" if save_report(path, report) else ""
    counts = ", ".join(f"{len(report[key])} {key}" for key in ("missing", "broken", "truncated"))
    modes = ", ".join(f"{mode} {count}" for mode, count in report["modes"].items())
    print(f"{root}: {report['images']} listed images, {counts}; modes: {modes}{saved}")
    complain(root, report)


def read_report(path: Path, images: list[str]) -> dict | None:
    """An earlier report on these images that found none missing or broken."""
    try:
        report = json.loads(path.read_text())
        fine = report["listed"] == fingerprint(images) and not report["missing"] and not report["broken"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report if fine else None


if __name__ == "__main__":
    raise SystemExit(door(main))
