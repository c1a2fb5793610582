# ruff: noqa: F401, F811  (fixtures are imported)
"""The ten VQA sets from a small server to the layout that is read, and what can go wrong on the way."""

import json
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from digrap.cli import download as script
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.data.download import fetch as download
from digrap.data.download.fetch import Remote, fetch
from digrap.data.vqa.downloads import chosen
from digrap.data.vqa.records import RECORDS
from digrap.data.vqa.sets import SETS, _coco, ok_vqa
from tests.data.make_vqa import make as make_vqa
from tests.data.test_download import files, no_pause
from tests.data.vqa_site import (
    BY_HAND,
    CP,
    EVERYTHING,
    at,
    command,
    content,
    made,
    place_by_hand,
    requested,
    root,
    server,
)


def test_all_ten_and_what_has_to_be_fetched_by_hand(command, server, root):
    code, out, err = command("dataset=vqa_all", "lists=true")
    assert code == 2 and out == "" and "Traceback" not in err
    head, *lines = [line for line in err.splitlines() if not line.startswith("unpacking")]
    page = "https://facebookresearch.github.io/VQA-Rephrasings/"
    assert head.startswith(f"error: {root}: 2 files or folders missing")
    assert lines == [f"  {root / name}: no address is known; by hand: from {page} to this path" for name in BY_HAND]
    assert len(requested(server)) == len(set(requested(server))) and not (root / "zips").exists()
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


@pytest.mark.parametrize("name", SETS)
def test_one_set_brings_what_it_reads(command, root, name):
    place_by_hand(root)
    code, out, _ = command(f"dataset={name}")
    assert code == 0 and out.endswith(f"{name} is complete\n")
    parts = {"vqav2": ["train", "val"], "vqa_cp": ["test"]}.get(name, ["val"])
    for part in parts:
        for item in SETS[name].files[part]:
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
    assert requested(server).count("images.cocodataset.org/zips/val2014.zip") == 1
    kept = files(root / "zips")
    assert "val2014.zip" in kept and "v2_Annotations_Val_mscoco.zip" in kept and len(kept) == 5
    shutil.rmtree(root / "images")
    (root / "vqav2" / "v2_mscoco_val2014_annotations.json").unlink()
    before = len(server.asked)
    assert command("dataset=vqa_ce", "keep_zips=true")[0] == 0 and len(server.asked) == before


def test_files_and_folders_lie_where_they_are_read(tmp_path):
    root = make_vqa(tmp_path).root
    paths = {item.path for one in SETS.values() for items in one.files.values() for item in items}
    files_of_sets = {name for name in files(root) if not name.startswith("images/")}
    assert paths <= files_of_sets | {str(p.relative_to(root)) for p in root.rglob("images/*/*")}
    assert {name for name in files_of_sets if name.startswith(tuple(SETS))} <= EVERYTHING.keys()


def test_archives_have_names_of_their_own():
    urls = {item.url for item in EVERYTHING.values() if item.inner}
    assert len({urlsplit(url).path.rpartition("/")[2] for url in urls}) == len(urls)


def test_one_file_that_is_not_served_keeps_no_other_back(command, server, root):
    at(server.folder, CP).unlink()
    code, _, err = command("dataset=vqa_cp")
    assert code == 2 and "1 files or folders missing" in err and "the server replied 404" in err
    assert f"{root / 'vqa_cp' / 'vqacp_v2_test_questions.json'}: http" in err
    assert "by hand: from https://computing.ece.vt.edu/~aish/vqacp/vqacp_v2_test_questions.json (or https" in err
    assert (root / "images" / "coco" / "train2014").is_dir()


def test_the_authors_lists_may_be_gone(command, server, root, caplog):
    shutil.rmtree(server.folder / "storage.googleapis.com")
    with caplog.at_level("INFO"):
        assert command("dataset=textvqa", "lists=true")[0] == 0
    assert "textvqa/combined_data.json: optional, not fetched (http" in caplog.text and "404" in caplog.text
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
    assert tried == [ok_vqa.SET.files["val"][0].url, _coco.VAL2014.url]
    assert "okvqa.allenai.org did not answer; by hand: from https://okvqa.allenai.org/static" in capsys.readouterr().err


def test_a_page_in_place_of_a_file_is_not_taken_for_it(command, server, root):
    at(server.folder, CP).write_bytes(b"<!DOCTYPE html><p>We have moved")
    code, _, err = command("dataset=vqa_cp", "images=false")
    assert code == 2 and "the server sent something else (b'<!DOCTYPE html>" in err
    assert files(root / "vqa_cp") == ["vqacp_v2_test_annotations.json"]
    assert CP not in json.loads((root / RECORDS).read_text())


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
        (["dataset=vqa_all", "parts=train"], "parts=train: needs a single dataset"),
        (["dataset=vizwiz", "mirror=ftp://x"], "mirror=ftp://x: give an address"),
        (
            ["dataset=vizwiz", "mirror=http://x:99999"],
            "mirror=http://x:99999: not a valid address (Port out of range 0-65535)",
        ),
        (["dataset=vizwiz", "mirror=http://x:9 9"], "mirror=http://x:9 9: not a valid address ("),
    ],
)
def test_bad_vqa_arguments(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["download.py", f"data_root={tmp_path}", *arguments])
    assert door(script.main) == 2 and words in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DigrapError, match="cannot be written .*verify_only=true only reads"):
        fetch(Remote(server.url + "x"), Path(tmp_path / "file" / "vqa" / "x"))
