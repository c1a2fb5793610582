"""A small server with all that the ten VQA sets publish, and scripts/download.py run against it."""

import dataclasses
import hashlib
import io
import json
import shutil
import sys
import tarfile
import zipfile

import pytest

from digrap.cli import download as script
from digrap.cli.door import door
from digrap.data.vqa import downloads as vqa_files
from digrap.data.vqa.downloads import chosen
from digrap.data.vqa.fetch import by_address
from digrap.data.vqa.sets import SETS
from tests.data.make_domainnet import serve

CP = "https://computing.ece.vt.edu/~aish/vqacp/vqacp_v2_test_questions.json"
EVERYTHING = {
    item.path: item for name, one in SETS.items() for part in one.files for item in chosen(name, [part], lists=True)
}
DEEP = "BS/vedika2/nobackup/thesis/"
PREFIXES = {
    "annotations_0.1_0.1.tar.gz": DEEP + "mini_datasets_qa/",
    "val2014_edited.tar.gz": DEEP + "final_edited_VQA_v2/Images/",
    "CV_VQA_annotations_0.1_0.0.tar.gz": DEEP + "mini_datasets_qa_COUNTING_DEL_1/",
    "CV_VQA_val2014.tar.gz": DEEP + "IMAGES_counting_del1_edited_VQA_v2/",
    "Annotations.zip": "Annotations/",
}
BY_HAND = [
    "vqa_rephrasings/v2_OpenEnded_mscoco_valrep2014_humans_og_questions.json",
    "vqa_rephrasings/v2_mscoco_valrep2014_humans_og_annotations.json",
]


def pack(path, entries):
    """A zip or tar.gz of {name: bytes}."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as file:
            for name, data in entries.items():
                file.writestr(name, data)
        return
    with tarfile.open(path, "w:gz") as file:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def at(site, url):
    """Where the server has what is published at an address."""
    return site / url.partition("://")[2]


def publish(site, files):
    """Write what each address serves to <host>/<path>; `files` returns {end of the path: bytes} of an item's files."""
    for url, group in by_address(EVERYTHING.values()).items():
        if url:
            path = at(site, url)
            path.parent.mkdir(parents=True, exist_ok=True)
            if group[0].inner:
                prefix = PREFIXES.get(path.name, "")
                named = {prefix + item.inner + name: data for item in group for name, data in files(item).items()}
                pack(path, {"notes.txt": b"other"} | named)
            else:
                path.write_bytes(files(group[0])[""])
    return site


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Everything that has an address, small."""
    return publish(tmp_path_factory.mktemp("site"), inside)


def inside(item):
    return {name: content(item.path) for name in (("/0.jpg", "/1.jpg") if item.is_folder else ("",))}


def content(path):
    return b"image" * 99 if path.startswith("images/") else json.dumps({"of": path, "filling": [0] * 999}).encode()


@pytest.fixture
def server(made, tmp_path, monkeypatch):
    """The site, and the facts of these small files: COCO's md5, two images a folder where a count is published."""
    shutil.copytree(made, tmp_path / "site")

    def small(item):
        md5 = hashlib.md5(at(made, item.url).read_bytes()).hexdigest() if item.md5 else None
        return dataclasses.replace(item, md5=md5, count=item.count and 2)

    def small_set(one):
        files = {part: tuple(map(small, items)) for part, items in one.files.items()}
        return dataclasses.replace(one, files=files)

    monkeypatch.setattr(vqa_files, "SETS", {name: small_set(one) for name, one in SETS.items()})
    with serve(tmp_path / "site") as state:
        yield state


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data" / "vqa"


@pytest.fixture
def command(server, root, monkeypatch, capsys):
    """Arguments → exit code, output and errors of scripts/download.py, in this process."""

    def call(*arguments):
        given = [f"data_root={root.parent}", f"mirror={server.url}", *arguments]
        monkeypatch.setattr(sys, "argv", ["download.py", *given])
        code = door(script.main)
        return code, *capsys.readouterr()

    return call


def place_by_hand(root):
    for name in BY_HAND:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content(name))


def requested(server):
    """Paths that the server was asked for, in order."""
    return [path for path, _ in server.asked]
