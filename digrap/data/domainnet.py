"""DomainNet (Peng et al. 2019): where its files lie, and what to do when they are not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from digrap.data.splits import DataModule
from digrap.errors import DigrapError

SITE = "https://csr.bu.edu/ftp/visda/2019/multi-source/"
# domain: (zip under SITE, bytes, md5)
ARCHIVES = {
    "clipart": ("groundtruth/clipart.zip", 1270909081, "cd0d8f2d77a4e181449b78ed62bccf1e"),
    "infograph": ("infograph.zip", 4338659804, "720380b86f9e6ab4805bb38b6bd135f8"),
    "painting": ("groundtruth/painting.zip", 3679366174, "1ae32cdb4f98fe7ab5eb0a351768abfd"),
    "quickdraw": ("quickdraw.zip", 459920701, "bdc1b6f09f277da1a263389efe0c7a66"),
    "real": ("real.zip", 6062039589, "dcc47055e8935767784b7162e7c7cca6"),
    "sketch": ("sketch.zip", 2633992926, "658d8009644040ff7ce30bb2e820850f"),
}


def missing_message(root: Path) -> str:
    """What to do when no DomainNet lies under `root`."""
    size = sum(archive[1] for archive in ARCHIVES.values()) / 1e9
    return (
        f"dataset=domainnet: no images under {root} (six folders: {', '.join(sorted(ARCHIVES))}). "
        f"`python scripts/download.py dataset=domainnet` says how to fetch them ({size:.1f} GB); data_root=… points "
        "elsewhere. Nothing to download: `python train.py dataset=minidomainnet`, the embedded stand-in."
    )


def build(root: str, splits: Mapping[str, Mapping[str, Any]], **_: Any) -> DataModule:
    """The splits of a DomainNet under `root`. Raises DigrapError where images are missing."""
    folder = Path(root)
    if not all((folder / domain).is_dir() for domain in ARCHIVES):
        raise DigrapError(missing_message(folder))
    raise DigrapError(
        f"dataset=domainnet: {folder} is there, but this version of digrap does not read it yet (see README, Status); "
        "`python train.py dataset=minidomainnet` runs the embedded stand-in"
    )
