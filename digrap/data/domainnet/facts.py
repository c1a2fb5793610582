"""DomainNet's published files: addresses, sizes, checksums, and the command that fetches them."""

from __future__ import annotations

import shlex
from pathlib import Path

from digrap.core.paths import data_root_option

SITE = "https://csr.bu.edu/ftp/visda/2019/multi-source/"
VERSIONS = ("original", "cleaned")

# domain: (zip under SITE, bytes, md5)
ARCHIVES = {
    "clipart": ("groundtruth/clipart.zip", 1270909081, "cd0d8f2d77a4e181449b78ed62bccf1e"),
    "infograph": ("infograph.zip", 4338659804, "720380b86f9e6ab4805bb38b6bd135f8"),
    "painting": ("groundtruth/painting.zip", 3679366174, "1ae32cdb4f98fe7ab5eb0a351768abfd"),
    "quickdraw": ("quickdraw.zip", 459920701, "bdc1b6f09f277da1a263389efe0c7a66"),
    "real": ("real.zip", 6062039589, "dcc47055e8935767784b7162e7c7cca6"),
    "sketch": ("sketch.zip", 2633992926, "658d8009644040ff7ce30bb2e820850f"),
}

# The cleaned lists, SITE/domainnet/txt/<list>.txt: (bytes, md5)
CLEANED_FOLDER = "domainnet/txt/"
CLEANED = {
    "clipart_train": (1443819, "b4349693a7f9c05c53955725c47ed6cb"),
    "clipart_test": (628917, "f5ddbcfd657a3acf9d0f7da10db22565"),
    "infograph_train": (1683098, "379b50054f4ac2018dca4f89421b92d9"),
    "infograph_test": (728028, "779626b50869edffe8ea6941c3755c71"),
    "painting_train": (2241901, "7db0e7ca73ad9982f6e1f7f3ef372c0a"),
    "painting_test": (971888, "232b35dc53f26d414686ae579e38d9b5"),
    "quickdraw_train": (5164600, "b732ced3939ac8efdd8c0a889dca56cc"),
    "quickdraw_test": (2213400, "c1a828fdfe216fb109f1c0083a252c6f"),
    "real_train": (4440944, "8ebf02c2075fadd564705f0dc7cd6291"),
    "real_test": (1911327, "6098816791c3ebed543c71ffa11b9054"),
    "sketch_train": (1960222, "1233bd18aa9a8a200bf4cecf1c34ef3e"),
    "sketch_test": (850581, "d8a222e4672cfd585298aa14d02ea441"),
}

GIGABYTES = sum(size for _, size, _ in ARCHIVES.values()) / 1e9


def fetch_command(root: Path, version: str = "original") -> str:
    """Return the command that fills `root`: data_root/domainnet, or data_root/domainnet-256 with smaller images."""
    name, _, side = root.name.partition("-")
    words = ["dataset=domainnet"] + ([f"version={version}"] if version != "original" else [])
    if name == "domainnet":
        words += data_root_option(root.parent) + ([f"shrink={side}"] if side.isdigit() else [])
    return f"python scripts/download.py {shlex.join(words)}"
