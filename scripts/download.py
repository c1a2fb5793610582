"""Fetch and check a dataset's files: `python scripts/download.py dataset=domainnet`.

    dataset=domainnet       or vqav2 iv_vqa cv_vqa vqa_rephrasings vqa_cp vqa_ce advqa textvqa vizwiz ok_vqa,
                            or vqa_all, which is these ten
    data_root=data          the files go to data_root/domainnet or data_root/vqa
    mirror=URL              another address with the same files
    keep_zips=false         true: the archives are kept in zips/ there
    verify_only=true        fetches nothing, only looks at what is there; a read-only data_root will do

DomainNet alone (docs/domainnet.md):
    version=original        cleaned: fetches the cleaned lists too, and checks their images
    checksums=FILE          json {path: {size, md5}} of a mirror with other files (tests)
    lists=DIR               one's own lists, as dataset.lists=DIR of train.py
    shrink=256              then copies of 256 px on the shorter side into data_root/domainnet-256 (or shrink_to=DIR)
    workers=0               processes that decode; 0: one a core

VQA alone (docs/datasets.md):
    images=true             false: questions and answers alone
    lists=false             true: the lists of the paper's authors too, if they are still served
    parts=train,val         other parts of a set than those that are used

Start it again at any time: it goes on where it stopped and does only what is missing.
"""

import json
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from omegaconf import DictConfig, ListConfig  # noqa: E402

from digrap.cli.door import bare_keys, check_flags, door  # noqa: E402
from digrap.core.errors import DigrapError, nearest  # noqa: E402
from digrap.data.domainnet.dataset import absent_images, missing_message  # noqa: E402
from digrap.data.domainnet.facts import ARCHIVES  # noqa: E402
from digrap.data.domainnet.fetch import fetch_all  # noqa: E402
from digrap.data.domainnet.lists import Lists  # noqa: E402
from digrap.data.domainnet.pictures import check_side, complain, fingerprint, listed, save_report, shrink, verify  # noqa: E402
from digrap.data.vqa.fetch import fetch_sets, verify_sets  # noqa: E402
from digrap.data.vqa.files import ALL, chosen  # noqa: E402
from digrap.data.vqa.sets import SETS  # noqa: E402

COMMON = {"dataset": "domainnet", "data_root": "data", "mirror": None, "keep_zips": False, "verify_only": False}
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
    """Fetch what is missing, check what is there."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dataset = str(bare_keys(sys.argv[1:], COMMON | VQA | DOMAINNET).dataset)
    if dataset != "domainnet" and dataset not in VQA_SETS:
        raise DigrapError(f"dataset={dataset}: nothing to fetch for it; {nearest(dataset, ['domainnet', *VQA_SETS])}")
    own = COMMON | (DOMAINNET if dataset == "domainnet" else VQA)
    for argument in sys.argv[1:]:
        if argument.partition("=")[0] not in own:
            raise DigrapError(f"{argument}: does not apply to dataset={dataset}, which takes {', '.join(own)}")
    options = bare_keys(sys.argv[1:], own)
    check_flags(options, *(key for key, default in own.items() if isinstance(default, bool)))
    data_root = Path(str(options.data_root)).expanduser()
    (domainnet if dataset == "domainnet" else vqa)(options, data_root)


def vqa(options: DictConfig, data_root: Path) -> None:
    """The VQA sets' files."""
    parts = [] if options.parts is None else options.parts
    parts = list(parts) if isinstance(parts, ListConfig | list) else str(parts).split(",")
    items = chosen(str(options.dataset), [str(part).strip() for part in parts], options.images, options.lists)
    root = data_root / "vqa"
    if options.verify_only:
        verify_sets(root, items, print)
    else:
        brought = fetch_sets(root, items, options.mirror and str(options.mirror), options.keep_zips)
        print(f"{root}: {len(brought)} files or folders fetched; {options.dataset} is there")


def domainnet(options: DictConfig, data_root: Path) -> None:
    """DomainNet's images: fetched, decoded once, shrunk where asked to."""
    if isinstance(options.workers, bool) or not isinstance(options.workers, int) or options.workers < 0:
        raise DigrapError(f"workers={options.workers}: give a whole number, 0 for one a core")
    if options.shrink is not None:
        check_side(options.shrink)
    root = data_root / "domainnet"
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
    raise SystemExit(door(main, __doc__))
