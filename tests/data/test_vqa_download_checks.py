# ruff: noqa: F401, F811  (fixtures are imported)
"""Records of first downloads, checksums, resumed downloads and verify_only=true of the VQA sets."""

import hashlib
import json
import shutil

import pytest

from digrap.data.download.fetch import NotObtained, Remote, fetch
from digrap.data.vqa import downloads as vqa_files
from digrap.data.vqa.records import RECORDS
from digrap.data.vqa.sets import SETS
from tests.data.test_download import files, no_pause
from tests.data.vqa_site import BY_HAND, CP, EVERYTHING, at, command, content, made, pack, place_by_hand, root, server


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
    at(server.folder, CP).write_bytes(b'{"oth": [1]}')
    second = hashlib.sha256(b'{"oth": [1]}').hexdigest()
    code, _, err = command("dataset=vqa_cp", "images=false")
    assert code == 2 and f"12 bytes, sha256 {second}" in err and f"sha256 {first} of {CP}" in err
    assert files(root / "vqa_cp") == ["vqacp_v2_test_annotations.json"]
    records = json.loads((root / RECORDS).read_text())
    del records[CP]  # what the message says
    (root / RECORDS).write_text(json.dumps(records))
    assert command("dataset=vqa_cp", "images=false")[0] == 0 and target.read_bytes() == b'{"oth": [1]}'


@pytest.mark.parametrize("verify_only", ["true", "false"])
def test_a_kept_file_that_differs_is_named_and_stays(command, root, verify_only):
    assert command("dataset=vqa_cp", "images=false")[0] == 0
    target = root / "vqa_cp" / "vqacp_v2_test_questions.json"
    target.write_bytes(b"[1]")
    code, out, err = command("dataset=vqa_cp", "images=false", f"verify_only={verify_only}")
    assert code == 2 and f"\n  {target}: 3 bytes, sha256" in err and "downloaded first" in err
    assert "1 files or folders" in err and "by hand" not in err and target.read_bytes() == b"[1]"
    assert "move it away to fetch it again" in err
    target.rename(root / "mine")  # what the message says
    assert command("dataset=vqa_cp", "images=false")[0] == 0
    assert target.read_bytes() == content("vqa_cp/vqacp_v2_test_questions.json")


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
    monkeypatch.setattr(vqa_files, "SETS", SETS)
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


def test_verify_only_reads(command, server, root, monkeypatch):
    place_by_hand(root)
    assert command("dataset=vqa_all", "keep_zips=true")[0] == 0
    for name in ("records.write_json", "fetch.lock_downloads", "fetch.fetch", "fetch.unpack"):
        monkeypatch.setattr(f"digrap.data.vqa.{name}", None)  # as where nothing may be written
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
    assert code == 2 and "4 files or folders missing or wrong; without verify_only=true the same command" in err
    assert "1 images of 2: delete the folder" in err and "train2014.zip: 2 bytes, md5" in err
    assert "are not the published md5" in err
    assert "val.zip: 2 bytes, sha256" in err and "zips/val.zip: kept, differs" in out
    assert (
        "advqa/v1_mscoco_val2017_advqa_annotations.json: missing; by hand: from https://dl.fbaipublicfiles.com/advqa/"
        in err
    )


def test_verify_only_where_there_is_nothing(command, root):
    code, out, err = command("dataset=vqa_cp", "verify_only=true")
    assert code == 2 and "images/coco/val2014: missing" in out and "4 files or folders missing" in err
    assert not root.parent.exists()
