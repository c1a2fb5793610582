"""Download and check a dataset's files: `python scripts/download.py dataset=domainnet`.

    dataset=domainnet       or vqav2 iv_vqa cv_vqa vqa_rephrasings vqa_cp vqa_ce advqa textvqa vizwiz ok_vqa,
                            or vqa_all, which is these ten
    data_root=data          the files go to data_root/domainnet or data_root/vqa
    mirror=URL              another address with the same files
    keep_zips=false         true: keep the archives in zips/; your own are always kept
    verify_only=true        only check the files, download nothing; data_root may be read-only

DomainNet only (docs/domainnet.md):
    version=original        cleaned: also download the cleaned lists, and check their images
    checksums=FILE          JSON {path: {size, md5}} of a mirror with other files (tests)
    lists=DIR               your own lists, as dataset.lists=DIR of train.py
    shrink=256              also write copies with a shorter side of 256 px to data_root/domainnet-256 (shrink_to=DIR)
    workers=0               processes that decode; 0: one per core

VQA only (docs/datasets.md):
    images=true             false: questions and answers only
    lists=false             true: also the lists of the paper's authors, if they are still online
    parts=train,val         parts of a set other than those that are used

Run it again at any time: it resumes where it stopped and does only what is missing or damaged. What it replaces is kept
as <name>.replaced.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from digrap.cli.arguments import as_number, bare_keys, check_flags
from digrap.core.errors import DigrapError, nearest
from digrap.core.paths import DATA
from digrap.data.domainnet.dataset import absent_images, missing_message
from digrap.data.domainnet.facts import ARCHIVES, CLEANED
from digrap.data.domainnet.fetch import fetch_all
from digrap.data.domainnet.lists import Lists
from digrap.data.domainnet.pictures import (
    check_report,
    check_side,
    listed,
    read_report,
    report_path,
    save_report,
    shrink,
    verify,
)
from digrap.data.vqa.downloads import ALL, chosen
from digrap.data.vqa.fetch import fetch_sets, verify_sets
from digrap.data.vqa.sets import SETS

COMMON = {"dataset": "domainnet", "data_root": str(DATA), "mirror": None, "keep_zips": False, "verify_only": False}
DOMAINNET = {
    "version": "original",
    "checksums": None,
    "lists": None,
    "shrink": None,
    "shrink_to": None,
    "workers": 0,
}
VQA = {"images": True, "lists": False, "parts": None}
VQA_SETS = (*SETS, ALL)


def main() -> None:
    """Download what is missing and check the files."""
    if len(sys.argv) == 1:
        print(__doc__.strip())
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = read_options(sys.argv[1:])
    data_root = Path(str(options.data_root)).expanduser()
    (download_domainnet if options.dataset == "domainnet" else download_vqa)(options, data_root)


def read_options(arguments: list[str]) -> DictConfig:
    """Merge the arguments into the defaults of their dataset. Raises DigrapError for one that does not apply to it."""
    dataset = str(bare_keys(arguments, COMMON | VQA | DOMAINNET).dataset)
    if dataset != "domainnet" and dataset not in VQA_SETS:
        raise DigrapError(
            f"dataset={dataset}: nothing to download for it; {nearest(dataset, ['domainnet', *VQA_SETS])}"
        )
    own = COMMON | (DOMAINNET if dataset == "domainnet" else VQA)
    for argument in arguments:
        if argument.partition("=")[0] not in own:
            raise DigrapError(f"{argument}: does not apply to dataset={dataset}, which takes {', '.join(own)}")
    options = bare_keys(arguments, own)
    check_flags(options, *(key for key, default in own.items() if isinstance(default, bool)))
    return options


def download_vqa(options: DictConfig, data_root: Path) -> None:
    """Download the files of VQA sets, or check them."""
    parts = [] if options.parts is None else options.parts.strip("[]").split(",")
    items = chosen(options.dataset, [part.strip() for part in parts], options.images, options.lists)
    root = data_root / "vqa"
    if options.verify_only:
        verify_sets(root, items, print)
    else:
        fetched = fetch_sets(root, items, options.mirror and str(options.mirror), options.keep_zips)
        print(f"{root}: {len(fetched)} files or folders downloaded; {options.dataset} is complete")


def download_domainnet(options: DictConfig, data_root: Path) -> None:
    """Download DomainNet's images, decode each once, and shrink them where `shrink` is given."""
    if isinstance(options.workers, bool) or not isinstance(options.workers, int) or options.workers < 0:
        raise DigrapError(f"workers={options.workers}: give a whole number, 0 for one per core")
    if options.shrink is not None:
        options.shrink = as_number(options.shrink)
        check_side(options.shrink)
    root = data_root / "domainnet"
    source = Lists(options.version, root, Path(str(options.lists)).expanduser() if options.lists else None)
    if options.verify_only:
        if absent := [domain for domain in sorted(ARCHIVES) if not (root / domain).is_dir()]:
            raise DigrapError(missing_message(root, absent))
        for name in CLEANED if source.version == "cleaned" and not source.folder else ():
            if (source.place / f"{name}.txt").is_file():
                source.read(*name.rsplit("_", 1))  # also those that the dataset's config does not use
    else:
        cleaned = options.version == "cleaned" and not options.lists
        checksums = Path(str(options.checksums)).expanduser() if options.checksums else None
        fetch_all(root, cleaned, options.mirror and str(options.mirror), checksums, options.keep_zips)
    workers = options.workers or _cores()
    check_images(root, source, report_path(root, options.version), workers, again=options.verify_only)
    if options.shrink is not None:
        target = Path(str(options.shrink_to or f"{root}-{options.shrink}")).expanduser()
        print(f"{target}: {shrink(root, target, options.shrink, workers)} images made; use dataset.root={target}")


def check_images(root: Path, source: Lists, path: Path, workers: int, again: bool) -> None:
    """Decode every listed image, unless the report at `path` says that this was done and no image is missing since.

    `again` decodes them in any case. Raises DigrapError for missing and broken images.
    """
    entries = listed(source)
    report = None if again else read_report(path, [image for image, _ in entries])
    if report and not absent_images(root, entries):
        print(f"{root}: complete, {report['images']} images checked at {report['made']} ({path})")
        return
    report = verify(root, source, workers)
    saved = f" ({path})" if save_report(path, report) else ""
    counts = ", ".join(f"{len(report[key])} {key}" for key in ("missing", "broken", "truncated"))
    modes = ", ".join(f"{mode} {count}" for mode, count in report["modes"].items())
    print(f"{root}: {report['images']} listed images, {counts}; modes: {modes}{saved}")
    check_report(root, report)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
