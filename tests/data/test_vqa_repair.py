# ruff: noqa: F401, F811  (fixtures are imported)
"""Damaged files of the ten sets: the command that the reader's message gives repairs them, and keeps them aside."""

import dataclasses
import gzip
import hashlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from digrap.cli import download, show_dataset
from digrap.cli.door import door
from digrap.data.vqa import downloads as vqa_files
from digrap.data.vqa.records import RECORDS
from digrap.data.vqa.sets import SETS, advqa, textvqa, vqav2
from tests.data.downloads import files, no_pause
from tests.data.make_domainnet import serve
from tests.data.make_vqa import make
from tests.data.vqa_site import EVERYTHING, at, pack, publish

ANNOTATIONS = f"advqa/{advqa.ANNOTATIONS}"
ZIPPED = f"vqav2/{vqav2.annotations_file('val')}"  # comes in an archive of its own


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The ten sets in their official form, and a site that serves them."""
    root = make(tmp_path_factory.mktemp("whole")).root

    def inside(item):
        path = root / item.path
        if item.is_folder:
            return {f"/{picture.name}": picture.read_bytes() for picture in path.iterdir()}
        return {"": path.read_bytes()}

    return root, publish(tmp_path_factory.mktemp("site"), inside)


@pytest.fixture
def root(whole, tmp_path):
    """A copy that a test may damage, in a folder whose name has a space."""
    shutil.copytree(whole[0], tmp_path / "my data" / "vqa")
    return tmp_path / "my data" / "vqa"


@pytest.fixture
def server(whole, tmp_path, monkeypatch):
    published, site = whole

    def small(item):
        md5 = hashlib.md5(at(site, item.url).read_bytes()).hexdigest() if item.md5 else None
        return dataclasses.replace(item, md5=md5, count=item.count and len(list((published / item.path).iterdir())))

    sets = {}
    for name, one in SETS.items():
        parts = {part: tuple(map(small, items)) for part, items in one.files.items()}
        sets[name] = dataclasses.replace(one, files=parts)
    monkeypatch.setattr(vqa_files, "SETS", sets)
    shutil.copytree(site, tmp_path / "site")
    with serve(tmp_path / "site") as state:
        yield state


@pytest.fixture
def call(root, server, tmp_path, monkeypatch, capsys):
    """A command → its exit code and all that it prints; downloads ask the small server, sheets are not drawn."""
    sheet = SimpleNamespace(savefig=lambda file, **_: file.write(b"sheet"))
    monkeypatch.setattr("digrap.data.show.sheet", lambda _: sheet)
    monkeypatch.setenv("COLUMNS", "2000")

    def run(words):
        assert words[0] == "python"
        script = {"scripts/download.py": download, "scripts/show_dataset.py": show_dataset}[words[1]]
        more = [f"mirror={server.url}"] if script is download else ["examples=1", f"out={tmp_path / 'sheet.png'}"]
        monkeypatch.setattr(sys, "argv", [*words[1:], *more])
        code = door(script.main)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out + err

    return run


def advised(text):
    """The command of a message."""
    return shlex.split(re.search("`(python scripts/download.py [^`]*)`", text)[1])


def show(root, name, *more):
    return ["python", "scripts/show_dataset.py", f"dataset={name}", f"data_root={root.parent}", *more]


def fetch(root, name, *more):
    return ["python", "scripts/download.py", f"dataset={name}", f"data_root={root.parent}", *more]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.read_bytes()


@pytest.mark.parametrize("name", SETS)
def test_a_file_cut_in_half_is_repaired_by_the_advised_command(whole, root, call, name):
    own = {path for path in EVERYTHING if path.startswith(f"{name}/") and path.endswith(".json")}
    shared = {f"vqav2/{file}": name for file in (vqav2.questions_file("val"), vqav2.annotations_file("val"))}
    for path in sorted(own) + (sorted(shared) if name == "vqa_ce" else []):
        damaged = cut(root / path)
        command = show(root, name, *(["source=lists"] if path.rpartition("/")[2] in SETS[name].lists.values() else []))
        _, told = call(command)
        assert f"{root / path} is not JSON" in told
        again = advised(told)
        code, found = call([*again, "verify_only=true"])
        assert code == 2 and f"{path}: {len(damaged)} bytes, damaged" in found and f"{root / path} is not JSON" in found
        assert (root / path).read_bytes() == damaged
        code, found = call(again)
        if EVERYTHING[path].url:
            assert code == 0 and (root / f"{path}.replaced").read_bytes() == damaged
        else:
            assert code == 2 and f"no address is known; by hand: from {EVERYTHING[path].page} to this path" in found
            shutil.copy(whole[0] / path, root / path)
        assert (root / path).read_bytes() == (whole[0] / path).read_bytes()
        code, told = call(command)
        assert code == 0 and "left out" not in told


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[]",
        b"{}",
        b'{"error": "not found"}',
        b'{"annotations": []}',
        b"null",
        b"12",
        b"\xff\xfe",
        b"PK\x03\x04no json",
        b'{"a": 1',
        b'[{"a": "\xe9"}]',
    ],
)
def test_a_file_that_is_none_is_replaced_and_kept(root, call, whole, data):
    (root / ANNOTATIONS).write_bytes(data)
    assert call(fetch(root, "advqa", "verify_only=true"))[0] == 2
    assert call(fetch(root, "advqa"))[0] == 0
    assert (root / ANNOTATIONS).read_bytes() == (whole[0] / ANNOTATIONS).read_bytes()
    assert (root / f"{ANNOTATIONS}.replaced").read_bytes() == data


def test_json_lines_are_as_good_as_their_list(root, call):
    listed = json.loads((root / ANNOTATIONS).read_text())["annotations"]
    (root / ANNOTATIONS).write_text("".join(json.dumps(entry) + "\n" for entry in listed))
    assert call(show(root, "advqa"))[0] == 0 and call(fetch(root, "advqa", "verify_only=true"))[0] == 0
    cut(root / ANNOTATIONS)
    assert call(show(root, "advqa"))[0] == call(fetch(root, "advqa", "verify_only=true"))[0] == 2


def test_the_table_of_rotations(root, call, whole):
    path = root / "textvqa" / textvqa.ROTATIONS
    damaged = cut(path)
    assert call(fetch(root, "textvqa", "verify_only=true"))[0] == 2  # optional, but there
    assert call(fetch(root, "textvqa"))[0] == 0 and path.with_name(f"{path.name}.replaced").read_bytes() == damaged
    path.write_text("ImageID,Angle\nx,1\n")  # whole, of another form
    code, told = call(show(root, "textvqa", "undo_rotation=true"))
    assert code == 2 and "no columns ImageID and Rotation; move it away, then" in told
    path.rename(root / "mine.csv")
    assert call(advised(told))[0] == 0 and call(show(root, "textvqa", "undo_rotation=true"))[0] == 0


@pytest.mark.parametrize("name", ["vqa_ce/hard.json", "vqa_ce/counterexamples.json", "vizwiz/val.json", ANNOTATIONS])
@pytest.mark.parametrize(
    "text", ['{"annotations": [{"question_id": 1, "image_id": 1, "answers": ["a"]}]}', '{"other": [1]}']
)
def test_a_whole_file_with_other_content_is_fetched_once_it_is_moved_away(root, call, whole, name, text):
    (root / name).write_text(text)
    code, told = call(show(root, name.partition("/")[0]))
    assert code == 2 and re.search("move (it|its files) away, then `", told)
    (root / name).rename(root / "mine.json")
    assert call(advised(told))[0] == 0 and call(show(root, name.partition("/")[0]))[0] == 0
    assert (root / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.parametrize("gone", [ANNOTATIONS, ZIPPED])
def test_a_damaged_file_stays_where_no_other_can_be_had(root, call, server, gone):
    damaged = cut(root / gone)
    at(server.folder, EVERYTHING[gone].url).unlink()
    code, told = call(fetch(root, gone.partition("/")[0], "images=false"))
    assert code == 2 and f"{root / gone}" in told and "the server replied 404" in told and "by hand: from http" in told
    assert (root / gone).read_bytes() == damaged and not list((root / gone).parent.glob("*.replaced"))


def test_an_archive_that_is_there_repairs_without_the_server(root, call, server):
    url = EVERYTHING[ZIPPED].url
    (root / "zips").mkdir()
    kept = Path(shutil.copy(at(server.folder, url), root / "zips"))
    damaged = cut(root / ZIPPED)
    assert call(fetch(root, "vqav2", "images=false"))[0] == 0 and server.asked == [] and kept.exists()
    assert (root / f"{ZIPPED}.replaced").read_bytes() == damaged


@pytest.mark.parametrize("made", [b"PK no zip", b"cut", b"of another folder"])
def test_an_archive_that_cannot_be_unpacked_is_downloaded_once_it_is_moved_away(root, call, server, made):
    (root / "zips").mkdir()
    archive = root / "zips" / "v2_Annotations_Val_mscoco.zip"
    if made == b"of another folder":
        pack(archive, {"other.json": b"{}"})
    else:
        published = at(server.folder, EVERYTHING[ZIPPED].url).read_bytes()
        archive.write_bytes(published[:-99] if made == b"cut" else made)
    before = archive.read_bytes()
    (root / ZIPPED).unlink()
    code, told = call(fetch(root, "vqav2", "images=false"))
    assert code == 2 and f"{archive}: " in told and "delete it or move it away" in told and server.asked == []
    assert archive.read_bytes() == before
    archive.rename(root / "mine.zip")
    assert call(fetch(root, "vqav2", "images=false"))[0] == 0 and (root / ZIPPED).is_file()


@pytest.mark.parametrize("path", [ANNOTATIONS, ZIPPED])
def test_a_damaged_file_of_the_server_is_not_taken_and_not_recorded(root, call, server, whole, path):
    item, name = EVERYTHING[path], path.partition("/")[0]
    (root / path).unlink()
    good = at(server.folder, item.url).read_bytes()
    half = (whole[0] / path).read_bytes()[:999]
    if item.inner:
        pack(at(server.folder, item.url), {item.inner: half})
    else:
        at(server.folder, item.url).write_bytes(half)
    code, told = call(fetch(root, name, "images=false"))
    assert code == 2 and f"{path.partition('/')[2]} is not JSON" in told and not (root / path).exists()
    records = root / RECORDS
    assert not records.exists() or not [url for url in json.loads(records.read_text()) if url.startswith(item.url)]
    at(server.folder, item.url).write_bytes(good)
    if item.inner:  # what the message says
        archive = root / "zips" / "v2_Annotations_Val_mscoco.zip"
        assert f"{archive}: " in told and "delete it or move it away" in told and archive.exists()
        shutil.rmtree(root / "zips")
    assert call(fetch(root, name, "images=false"))[0] == 0
    assert (root / path).read_bytes() == (whole[0] / path).read_bytes()


def test_a_record_of_an_earlier_release_is_read_once_and_dropped_where_its_file_is_damaged(
    root, call, whole, monkeypatch
):
    other, url = f"advqa/{advqa.QUESTIONS}", EVERYTHING[ANNOTATIONS].url
    damaged = cut(root / ANNOTATIONS)

    def record(path):
        data = (root / path).read_bytes()
        return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "date": "2025-01-01"}

    old = {EVERYTHING[path].url: record(path) for path in (ANNOTATIONS, other)}
    (root / RECORDS).write_text(json.dumps(old))
    assert call(fetch(root, "advqa"))[0] == 0 and (root / f"{ANNOTATIONS}.replaced").read_bytes() == damaged
    new = json.loads((root / RECORDS).read_text())
    assert new[EVERYTHING[other].url] == old[EVERYTHING[other].url] | {"parsed": True}
    assert new[url] == record(ANNOTATIONS) | {"parsed": True, "date": new[url]["date"]}
    monkeypatch.setattr("digrap.data.vqa.fetch.check_whole", None)  # neither is read again
    assert call(fetch(root, "advqa"))[0] == 0


def test_an_archive_of_the_user_stays_after_it_was_unpacked(root, call, server, whole, caplog):
    (root / "zips").mkdir()
    item = EVERYTHING["images/coco/val2014"]
    shutil.copy(at(server.folder, item.url), root / "zips")
    shutil.rmtree(root / item.path)
    (root / item.path).mkdir()
    (root / item.path / "notes.txt").write_text("mine")  # a folder without a picture is not the set's
    with caplog.at_level("INFO"):
        assert call(fetch(root, "advqa"))[0] == 0
    assert (
        files(root / "zips") == ["val2014.zip"] and "val2014.zip is no longer needed and may be deleted" in caplog.text
    )
    assert files(root / item.path) == files(whole[0] / item.path) and server.asked == []
    assert (root / f"{item.path}.replaced" / "notes.txt").read_text() == "mine"


def test_an_archive_of_another_md5_stays_where_no_other_can_be_had(root, call, server):
    item = EVERYTHING["images/coco/val2014"]
    (root / "zips").mkdir()
    (root / "zips" / "val2014.zip").write_bytes(b"PK zipped anew")
    shutil.rmtree(root / item.path)
    wanted = hashlib.md5(at(server.folder, item.url).read_bytes()).hexdigest()
    at(server.folder, item.url).unlink()
    code, told = call(fetch(root, "advqa"))
    assert code == 2 and "replied 404" in told and wanted in told and hashlib.md5(b"PK zipped anew").hexdigest() in told
    assert f"{root / 'zips' / 'val2014.zip'}: 14 bytes" in told and files(root / "zips") == ["val2014.zip"]
    assert (root / "zips" / "val2014.zip").read_bytes() == b"PK zipped anew"
