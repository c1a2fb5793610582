"""The ten VQA sets from a small server to the layout that is read, and everything that can go wrong on the way."""

import dataclasses
import hashlib
import io
import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from digrap.cli import download as script
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.data.download import fetch as download
from digrap.data.download.errors import NotObtained
from digrap.data.download.fetch import Remote, fetch
from digrap.data.vqa import archives
from digrap.data.vqa.archives import ITEMS, chosen
from digrap.data.vqa.fetch import RECORDS, by_address
from tests.data.downloads import OUTSIDE, files, no_pause  # noqa: F401
from tests.data.make_domainnet import serve
from tests.data.make_vqa import make as make_vqa

EVERYTHING = {item.path: item for name in ITEMS for part in ITEMS[name] for item in chosen(name, [part], lists=True)}
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Everything that has an address, small: <host>/<path>."""
    site = tmp_path_factory.mktemp("site")
    for url, group in by_address(EVERYTHING.values()).items():
        if url:
            path = at(site, url)
            path.parent.mkdir(parents=True, exist_ok=True)
            if group[0].inner:
                pack(path, {"notes.txt": b"other"} | dict(pair for item in group for pair in inside(path.name, item)))
            else:
                path.write_bytes(content(group[0].path))
    return site


def inside(archive, item):
    prefix = PREFIXES.get(archive, "")
    names = [f"{item.inner}/{number}.jpg" for number in range(2)] if item.is_folder else [item.inner]
    return [(prefix + name, content(item.path)) for name in names]


def content(path):
    return b"image" * 99 if path.startswith("images/") else json.dumps({"of": path, "filling": [0] * 999}).encode()


@pytest.fixture
def server(made, tmp_path, monkeypatch):
    """The site, and the facts of these small files: COCO's md5, two images a folder where a count is published."""
    shutil.copytree(made, tmp_path / "site")

    def small(item):
        md5 = hashlib.md5(at(made, item.url).read_bytes()).hexdigest() if item.md5 else None
        return dataclasses.replace(item, md5=md5, count=item.count and 2)

    table = {of: {part: tuple(map(small, items)) for part, items in parts.items()} for of, parts in ITEMS.items()}
    monkeypatch.setattr(archives, "ITEMS", table)
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


def asked(server):
    return [path for path, _ in server.asked]


def test_all_ten_and_what_has_to_be_fetched_by_hand(command, server, root):
    code, out, err = command("dataset=vqa_all", "lists=true")
    assert code == 2 and out == "" and "Traceback" not in err
    head, *lines = [line for line in err.splitlines() if not line.startswith("unpacking")]
    page = "https://facebookresearch.github.io/VQA-Rephrasings/"
    assert head.startswith(f"error: {root}: 2 files or folders missing")
    assert lines == [f"  {root / name}: no address is known; by hand: from {page} to this path" for name in BY_HAND]
    assert len(asked(server)) == len(set(asked(server))) and not (root / "zips").exists()
    for item in chosen("vqa_all", lists=True):  # everything else is there
        path = root / item.path
        if item.is_folder:
            assert [found.read_bytes() for found in sorted(path.iterdir())] == [content(item.path)] * 2
        elif item.url:
            assert path.read_bytes() == content(item.path)
    place_by_hand(root)
    before = len(server.asked)
    assert command("dataset=vqa_all", "lists=true")[0] == 0 and len(server.asked) == before
    assert (root / BY_HAND[0]).read_bytes() == content(BY_HAND[0])


@pytest.mark.parametrize("name", ITEMS)
def test_one_set_brings_what_it_reads(command, root, name):
    place_by_hand(root)
    code, out, _ = command(f"dataset={name}")
    assert code == 0 and out.endswith(f"{name} is complete\n")
    parts = {"vqav2": ["train", "val"], "vqa_cp": ["test"]}.get(name, ["val"])
    for part in parts:
        for item in ITEMS[name][part]:
            assert (root / item.path).is_dir() if item.is_folder else (root / item.path).is_file()


def test_questions_alone_and_other_parts(command, server, root):
    assert command("dataset=vizwiz", "images=false")[0] == 0
    assert not (root / "images").exists() and files(root / "vizwiz") == ["val.json"]
    assert command("dataset=vizwiz", "parts=train")[0] == 0
    assert sorted(files(root / "vizwiz")) == ["train.json", "val.json"]
    assert [path.name for path in (root / "images" / "vizwiz").iterdir()] == ["train"]
    assert command("dataset=ok_vqa", "parts=train, val", "images=false")[0] == 0 and len(files(root / "ok_vqa")) == 4


def test_shared_pictures_are_fetched_once_and_archives_kept_where_asked_for(command, server, root):
    for name in ("ok_vqa", "advqa", "vqa_ce"):
        assert command(f"dataset={name}", "keep_zips=true")[0] == 0
    assert asked(server).count("images.cocodataset.org/zips/val2014.zip") == 1
    kept = files(root / "zips")
    assert "val2014.zip" in kept and "v2_Annotations_Val_mscoco.zip" in kept and len(kept) == 5
    shutil.rmtree(root / "images")
    (root / "vqav2" / "v2_mscoco_val2014_annotations.json").unlink()
    before = len(server.asked)
    assert command("dataset=vqa_ce", "keep_zips=true")[0] == 0 and len(server.asked) == before


def test_files_and_folders_lie_where_they_are_read(tmp_path):
    root = make_vqa(tmp_path).root
    paths = {item.path for of in ITEMS.values() for items in of.values() for item in items}
    files_of_sets = {name for name in files(root) if not name.startswith("images/")}
    assert paths <= files_of_sets | {str(p.relative_to(root)) for p in root.rglob("images/*/*")}
    assert {name for name in files_of_sets if name.startswith(tuple(ITEMS))} <= EVERYTHING.keys()


def test_archives_have_names_of_their_own():
    urls = {item.url for item in EVERYTHING.values() if item.inner}
    assert len({urlsplit(url).path.rpartition("/")[2] for url in urls}) == len(urls)


CP = "https://computing.ece.vt.edu/~aish/vqacp/vqacp_v2_test_questions.json"


def test_the_first_download_is_recorded(command, root):
    assert command("dataset=vqav2")[0] == 0
    records = json.loads((root / RECORDS).read_text())
    url = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/v2_Questions_Val_mscoco.zip"
    name = "v2_OpenEnded_mscoco_val2014_questions.json"
    assert len(records) == 8 and not any("coco/zips" in key or "cocodataset" in key for key in records)
    data = (root / "vqav2" / name).read_bytes()
    assert {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}.items() <= records[f"{url}#{name}"].items()
    assert set(records[url]) == {"size", "sha256", "date"}


def test_a_later_download_that_differs_is_refused(command, server, root):
    assert command("dataset=vqa_cp", "images=false")[0] == 0
    first = hashlib.sha256(content("vqa_cp/vqacp_v2_test_questions.json")).hexdigest()
    target = root / "vqa_cp" / "vqacp_v2_test_questions.json"
    target.unlink()
    at(server.folder, CP).write_bytes(b'{"other": 1}')
    second = hashlib.sha256(b'{"other": 1}').hexdigest()
    code, _, err = command("dataset=vqa_cp", "images=false")
    assert code == 2 and f"12 bytes, sha256 {second}" in err and f"sha256 {first} of {CP}" in err
    assert files(root / "vqa_cp") == ["vqacp_v2_test_annotations.json"]
    records = json.loads((root / RECORDS).read_text())
    del records[CP]  # what the message says
    (root / RECORDS).write_text(json.dumps(records))
    assert command("dataset=vqa_cp", "images=false")[0] == 0 and target.read_bytes() == b'{"other": 1}'


@pytest.mark.parametrize("verify_only", ["true", "false"])
def test_a_kept_file_that_differs_is_named_and_stays(command, root, verify_only):
    assert command("dataset=vqa_cp", "images=false")[0] == 0
    target = root / "vqa_cp" / "vqacp_v2_test_questions.json"
    target.write_bytes(b"{}")
    code, out, err = command("dataset=vqa_cp", "images=false", f"verify_only={verify_only}")
    assert code == 2 and f"{target}: vqacp_v2_test_questions.json: 2 bytes, sha256" in err and "downloaded first" in err
    assert "1 files or folders" in err and "by hand" not in err and target.read_bytes() == b"{}"


def test_an_archive_that_differs_is_not_unpacked(command, server, root):
    assert command("dataset=iv_vqa")[0] == 0
    shutil.rmtree(root / "images")
    (root / "zips").mkdir()
    pack(root / "zips" / "val2014_edited.tar.gz", {"val2014/1.jpg": b"other"})
    code, _, err = command("dataset=iv_vqa")
    assert code == 2 and "val2014_edited.tar.gz: " in err and "not what was downloaded first" in err
    assert not (root / "images" / "iv-vqa").exists()


def test_damaged_records_are_said(command, root):
    root.mkdir(parents=True)
    (root / RECORDS).write_text('{"x": 1}')
    code, _, err = command("dataset=vqa_cp")
    assert code == 2 and f"{root / RECORDS}: cannot be read" in err


def test_cocos_checksum_is_the_published_one(command, server, root, monkeypatch):
    assert {item.md5 for item in EVERYTHING.values() if item.md5} == {
        "0da8c0bd3d6becc4dcb32757491aca88",
        "a3d79f5ed8d289b7a7554ce06a5782b3",
    }
    monkeypatch.setattr(archives, "ITEMS", ITEMS)
    code, _, err = command("dataset=advqa")
    assert code == 2 and "have another md5 than a3d79f5ed8d289b7a7554ce06a5782b3" in err
    assert not (root / "images" / "coco" / "val2014").exists() and len(files(root / "advqa")) == 2


def test_a_cut_download_is_resumed(command, server, root):
    path = CP.partition("://")[2]
    server.cut[path] = 1000
    assert command("dataset=vqa_cp", "images=false")[0] == 0 and server.starts(path) == [0, 1000]
    assert (root / "vqa_cp" / "vqacp_v2_test_questions.json").read_bytes() == at(server.folder, CP).read_bytes()


def test_without_a_checksum_only_what_surely_fits_is_joined(server, tmp_path):
    path = CP.partition("://")[2]
    server.tagged, server.cut[path] = False, 1000
    fetch(Remote(server.url + path), tmp_path / "x.json")
    assert server.starts(path) == [0, 0] and (tmp_path / "x.json").read_bytes() == at(server.folder, CP).read_bytes()
    (tmp_path / "y.json.part").write_bytes(b"of something else")
    fetch(Remote(server.url + path), tmp_path / "y.json")
    assert server.starts(path) == [0, 0, 0]
    assert (tmp_path / "y.json").read_bytes() == at(server.folder, CP).read_bytes()


def test_a_whole_part_is_not_asked_for_again(server, tmp_path):
    path = CP.partition("://")[2]
    data = at(server.folder, CP).read_bytes()
    (tmp_path / "x.json.part").write_bytes(data)
    notes = {"url": server.url + path, "etag": '"x"', "size": len(data)}
    (tmp_path / "x.json.part.json").write_text(json.dumps(notes))
    fetch(Remote(server.url + path), tmp_path / "x.json")
    assert server.asked == [] and (tmp_path / "x.json").read_bytes() == data
    assert not list(tmp_path.glob("*.part*"))


def test_sha256_is_checked_where_it_is_known(server, tmp_path):
    path = CP.partition("://")[2]
    right = hashlib.sha256(at(server.folder, CP).read_bytes()).hexdigest()
    fetch(Remote(server.url + path, sha256=right), tmp_path / "x.json")
    with pytest.raises(NotObtained, match=f"another sha256 than {'0' * 64} .the last {right}"):
        fetch(Remote(server.url + path, sha256="0" * 64), tmp_path / "y.json")


def test_one_file_that_is_not_served_keeps_no_other_back(command, server, root):
    at(server.folder, CP).unlink()
    code, _, err = command("dataset=vqa_cp")
    assert code == 2 and "1 files or folders missing" in err and "the server says 404" in err
    assert f"{root / 'vqa_cp' / 'vqacp_v2_test_questions.json'}: http" in err
    assert "by hand: from https://computing.ece.vt.edu/~aish/vqacp/vqacp_v2_test_questions.json (or https" in err
    assert (root / "images" / "coco" / "train2014").is_dir()


def test_the_authors_lists_may_be_gone(command, server, root, caplog):
    shutil.rmtree(server.folder / "storage.googleapis.com")
    with caplog.at_level("INFO"):
        assert command("dataset=textvqa", "lists=true")[0] == 0
    assert "textvqa/combined_data.json: optional, gone without (http" in caplog.text and "404" in caplog.text
    assert files(root / "textvqa") == ["TextVQA_0.5.1_val.json"]
    assert command("dataset=textvqa", "lists=true", "verify_only=true")[0] == 0


def test_a_server_that_does_not_answer_is_left_alone(server, root, monkeypatch, capsys):
    tried = []

    def fails(remote, path, accept):
        tried.append(remote.url)
        raise download.Unreachable(f"{remote.url}: 5 tries failed")

    monkeypatch.setattr("digrap.data.vqa.fetch.fetch", fails)
    monkeypatch.setattr(sys, "argv", ["download.py", f"data_root={root.parent}", "dataset=ok_vqa"])
    assert door(script.main) == 2
    assert tried == [f"{archives.OK_SITE}{archives.ITEMS['ok_vqa']['val'][0].inner}.zip", archives.VAL2014.url]
    assert "okvqa.allenai.org did not answer; by hand: from https://okvqa.allenai.org/static" in capsys.readouterr().err


def test_a_page_in_place_of_a_file_is_not_taken_for_it(command, server, root):
    at(server.folder, CP).write_bytes(b"<!DOCTYPE html><p>We have moved")
    code, _, err = command("dataset=vqa_cp", "images=false")
    assert code == 2 and "the server sent something else (b'<!DOCTYPE html>" in err
    assert files(root / "vqa_cp") == ["vqacp_v2_test_annotations.json"]
    assert CP not in json.loads((root / RECORDS).read_text())


def test_verify_only_reads(command, server, root, monkeypatch):
    place_by_hand(root)
    assert command("dataset=vqa_all", "keep_zips=true")[0] == 0
    for name in ("write_json", "lock_downloads", "fetch", "unpack"):
        monkeypatch.setattr(f"digrap.data.vqa.fetch.{name}", None)  # as where nothing may be written
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    code, out, _ = command("dataset=vqa_all", "verify_only=true")
    assert code == 0 and {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert "images/coco/val2014: 2 images of 2\n" in out and "images/iv-vqa/val2014: 2 images\n" in out
    assert f"{BY_HAND[0]}: {len(content(BY_HAND[0]))} bytes, no download on record" in out
    assert "bytes, as of 20" in out and "zips/val.zip: kept, whole" in out
    next((root / "images" / "coco" / "val2014").iterdir()).unlink()
    (root / "zips" / "train2014.zip").write_bytes(b"PK")
    (root / "zips" / "val.zip").write_bytes(b"PK")
    (root / "advqa" / "v1_mscoco_val2017_advqa_annotations.json").unlink()
    code, out, err = command("dataset=vqa_all", "verify_only=true")
    assert code == 2 and "4 files or folders missing or not right; without verify_only=true the same command" in err
    assert "1 images of 2: delete the folder" in err and "train2014.zip: its md5 is not the published" in err
    assert "val.zip: 2 bytes, sha256" in err and "zips/val.zip: kept, differs" in out
    assert (
        "advqa/v1_mscoco_val2017_advqa_annotations.json: missing; by hand: from https://dl.fbaipublicfiles.com/advqa/"
        in err
    )


def test_verify_only_where_there_is_nothing(command, root):
    code, out, err = command("dataset=vqa_cp", "verify_only=true")
    assert code == 2 and "images/coco/val2014: missing" in out and "4 files or folders missing" in err
    assert not root.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset=vqa-cp"], "dataset=vqa-cp: nothing to download for it; nearest: vqa_cp"),
        (
            ["dataset=vqav2", "shrink=256"],
            "shrink=256: does not apply to dataset=vqav2, which takes dataset, data_root",
        ),
        (["images=false"], "images=false: does not apply to dataset=domainnet"),
        (["dataset=vqav2", "lists=mine"], "lists=mine: give true or false"),
        (["dataset=vizwiz", "parts=test"], "parts=test: dataset=vizwiz has train, val"),
        (["dataset=vqa_all", "parts=train"], "parts=train: goes with one dataset"),
        (["dataset=vizwiz", "mirror=ftp://x"], "mirror=ftp://x: give an address"),
    ],
)
def test_bad_vqa_arguments(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["download.py", f"data_root={tmp_path}", *arguments])
    assert door(script.main) == 2 and words in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DigrapError, match="cannot be written .*verify_only=true only reads"):
        fetch(Remote(server.url + "x"), Path(tmp_path / "file" / "vqa" / "x"))
