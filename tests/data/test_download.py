"""Downloads that go wrong: each ends in the right file or the right message, and nothing wrong on disk."""

import hashlib
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections import namedtuple

import pytest

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.domainnet.fetch import fetch_all, remotes
from digrap.data.download import fetch as download
from digrap.data.download.fetch import Remote, fetch, unpack
from scripts import download as script
from tests.data.make_domainnet import make, serve

SIZE = 3 * 2**20 + 17


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", 5)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "big.zip").write_bytes(os.urandom(SIZE))
    with serve(tmp_path / "site") as state:
        yield state


@pytest.fixture
def remote(server):
    data = (server.folder / "big.zip").read_bytes()
    return Remote(server.url + "big.zip", len(data), hashlib.md5(data).hexdigest())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "zips" / "big.zip"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def names(folder):
    return [path.name for path in folder.iterdir()]


def whole(server, target):
    assert files(target.parent) == ["big.zip"]
    return target.read_bytes() == (server.folder / "big.zip").read_bytes()


def test_a_file_is_fetched_once(server, remote, target):
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0]
    fetch(remote, target)
    assert server.starts("big.zip") == [0]


def test_a_cut_connection_is_resumed_not_begun_again(server, remote, target, caplog):
    server.cut["big.zip"] = 2**20 + 5
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0, 2**20 + 5]
    assert f"the connection ended at byte {2**20 + 5} of {SIZE}" in caplog.text


@pytest.mark.parametrize("tagged", [True, False])
def test_a_killed_download_goes_on_at_the_next_start(server, remote, target, monkeypatch, tagged):
    server.tagged, server.cut["big.zip"] = tagged, 2**20

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download.time, "sleep", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(remote, target)
    assert files(target.parent) == ["big.zip.part", "big.zip.part.json"]
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0, 2**20]


def test_a_file_that_changed_on_the_server_is_not_joined_to_the_old_one(server, remote, target):
    target.parent.mkdir()
    target.with_name("big.zip.part").write_bytes(b"old" * 1000)
    target.with_name("big.zip.part.json").write_text(json.dumps({"url": remote.url, "etag": '"old"'}))
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0]


def test_a_start_from_elsewhere_that_does_not_fit_is_noticed(server, remote, target, caplog):
    target.parent.mkdir()
    target.with_name("big.zip.part").write_bytes(b"old" * 1000)
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [3000, 0]
    assert "the download is damaged (md5 differs); it is fetched anew" in caplog.text


def test_a_server_without_ranges(server, remote, target):
    server.ranges, server.cut["big.zip"] = False, 2**20
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0, 0]


def test_a_damaged_download_is_named_and_fetched_anew(server, remote, target, caplog):
    server.corrupt["big.zip"] = 1
    fetch(remote, target)
    assert whole(server, target) and "big.zip: the download is damaged" in caplog.text


def test_a_file_that_is_always_damaged_is_refused(server, remote, target):
    server.corrupt["big.zip"] = 99
    with pytest.raises(DigrapError, match=r"big.zip: 2 downloads have another md5.*mirror=URL"):
        fetch(remote, target)
    assert files(target.parent) == []


def test_a_short_file_is_named_and_fetched_anew(server, remote, target, caplog):
    server.short["big.zip"] = 1
    fetch(remote, target)
    assert whole(server, target)
    assert f"the server's file has {SIZE - 100} bytes, the published one {SIZE}" in caplog.text


def test_a_file_that_is_always_short_is_refused(server, remote, target):
    server.short["big.zip"] = 99
    with pytest.raises(DigrapError, match=r"5 tries failed, the last with: the server's file has .* or give a mirror"):
        fetch(remote, target)
    assert files(target.parent) == []


def test_a_part_that_is_too_long_is_thrown_away(server, remote, target):
    target.parent.mkdir()
    target.with_name("big.zip.part").write_bytes(bytes(SIZE + 1))
    fetch(remote, target)
    assert whole(server, target)


def test_a_damaged_file_on_disk_is_fetched_anew(server, remote, target, caplog):
    target.parent.mkdir()
    target.write_bytes(bytes(SIZE))
    fetch(remote, target)
    assert whole(server, target) and f"{target}: damaged" in caplog.text


def test_what_no_second_try_mends_is_said_at_once(server, remote, target, monkeypatch):
    with pytest.raises(DigrapError, match="other.zip: the server says 404"):
        fetch(Remote(server.url + "other.zip", 9, ""), target)
    with pytest.raises(DigrapError, match="5 tries failed, the last with: .*refused"):
        fetch(Remote("http://127.0.0.1:9/big.zip", 9, ""), target)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(2**20))
    with pytest.raises(DigrapError, match="0.00 GB are needed.*make room"):
        fetch(remote, target)
    assert server.asked == [] and files(target.parent) == []


# --- unpacking ------------------------------------------------------------------------------------------------------


def zipped(path, *names, link=None):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"image")
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, "/etc")
    return path


OUTSIDE = ["../evil.jpg", "real/../../evil.jpg", "/tmp/evil.jpg", "real\\..\\evil.jpg", "C:/evil"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_entries_outside_the_folder_are_refused(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(DigrapError, match="points outside the folder; nothing was unpacked"):
        unpack(zipped(tmp_path / "real.zip", "real/a/1.jpg", name), root, "real")
    assert files(tmp_path) == ["real.zip"] and list(root.iterdir()) == []


def test_links_are_refused(tmp_path):
    with pytest.raises(DigrapError, match="'real/a/etc' is a link or a device; nothing was unpacked"):
        unpack(zipped(tmp_path / "real.zip", "real/a/1.jpg", link="real/a/etc"), tmp_path, "real")
    assert names(tmp_path) == ["real.zip"]


def test_other_entries_are_left_out_and_none_is_an_error(tmp_path):
    unpack(zipped(tmp_path / "real.zip", "__MACOSX/x", "readme.txt", "real/a/1.jpg"), tmp_path, "real")
    assert files(tmp_path) == ["real.zip", "real/a/1.jpg"]
    with pytest.raises(DigrapError, match="holds no file in sketch/"):
        unpack(tmp_path / "real.zip", tmp_path, "sketch")


def test_a_broken_zip_and_a_full_disk_leave_no_folder(tmp_path, monkeypatch):
    path = zipped(tmp_path / "real.zip", "real/a/1.jpg", "real/a/2.jpg")
    data = bytearray(path.read_bytes())
    data[data.rindex(b"image")] ^= 1  # of the second entry
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(DigrapError, match="bad.zip: cannot be unpacked .*CRC"):
        unpack(tmp_path / "bad.zip", tmp_path, "real")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(DigrapError, match="bad.zip: cannot be unpacked .*delete it"):
        unpack(tmp_path / "bad.zip", tmp_path, "real")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(100))
    with pytest.raises(DigrapError, match="are needed"):
        unpack(path, tmp_path, "real")
    assert files(tmp_path) == ["bad.zip", "real.zip"]


def test_an_interrupted_unpacking_is_never_taken_for_whole(tmp_path, monkeypatch):
    path = zipped(tmp_path / "real.zip", "real/a/1.jpg", "real/a/2.jpg")
    (tmp_path / ".real.partial" / "real" / "old").mkdir(parents=True)  # of a start that was killed
    extract, calls = zipfile.ZipFile.extract, []

    def stopped(self, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract(self, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "extract", stopped)
    with pytest.raises(KeyboardInterrupt):
        unpack(path, tmp_path, "real")
    assert names(tmp_path) == ["real.zip"]
    unpack(path, tmp_path, "real")
    assert files(tmp_path) == ["real.zip", "real/a/1.jpg", "real/a/2.jpg"]


# --- all of DomainNet ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("domainnet"))


def test_from_nothing_to_whole_and_then_nothing_more(made, tmp_path, caplog):
    with serve(made.site) as server, caplog.at_level(logging.INFO):
        server.cut["real.zip"] = 20_000
        fetch_all(tmp_path / "root", False, server.url, made.checksums)
        assert server.starts("real.zip") == [0, 20_000] and len(server.asked) == 7
        assert fetch_all(tmp_path / "root", False, server.url, made.checksums) == []
        assert len(server.asked) == 7
    root = tmp_path / "root"
    assert [name for name in files(root) if name.count("/") == 2] == files(made.data_root / "domainnet")
    assert not (root / "zips").exists() and "groundtruth/clipart.zip: 0.00 GB, 1 of 6" in caplog.text


def test_it_stops_and_goes_on_at_any_archive(made, tmp_path):
    root = tmp_path / "root"
    with serve(made.site) as server:
        server.corrupt["real.zip"] = 2
        with pytest.raises(DigrapError, match="real.zip: 2 downloads have another md5"):
            fetch_all(root, False, server.url, made.checksums, keep_zips=True)
        assert not (root / "real").exists() and (root / "quickdraw").is_dir()
        shutil.rmtree(root / "painting")  # its zip is still there
        (root / "report-original.json").write_text("{}")  # of the images that are gone
        done = fetch_all(root, True, server.url, made.checksums, keep_zips=True)
        assert done == ["painting", "real", "sketch"] and len(server.starts("groundtruth/painting.zip")) == 1
        assert len(files(root / "zips")) == 6 and len(files(root / "cleaned")) == 12
        assert not (root / "report-original.json").exists()


def test_the_official_checksums_are_not_weakened(made, tmp_path):
    with pytest.raises(DigrapError, match="goes with mirror=URL; the official files' checksums are fixed"):
        remotes(None, made.checksums)
    assert remotes("http://127.0.0.1/x", None)("real.zip") == Remote(
        "http://127.0.0.1/x/real.zip", 6062039589, "dcc47055e8935767784b7162e7c7cca6"
    )
    with pytest.raises(DigrapError, match="says nothing of other.zip"):
        remotes("http://127.0.0.1", made.checksums)("other.zip")
    with pytest.raises(DigrapError, match="starts with http"):
        remotes("file:///etc", None)
    (tmp_path / "bad.json").write_text('{"real.zip": 1}')
    with pytest.raises(DigrapError, match="bad.json: cannot be read"):
        remotes("http://127.0.0.1", tmp_path / "bad.json")


def test_disk_space_is_checked_before_the_first_byte(made, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(10**9))
    with pytest.raises(DigrapError, match=r"24.5\d GB are needed, 1.00 GB are free"):
        fetch_all(tmp_path / "root", False, "http://127.0.0.1:9/")


def test_two_downloads_into_one_folder(made, tmp_path):
    from filelock import FileLock

    (tmp_path / "root").mkdir()
    with FileLock(tmp_path / "root" / ".download.lock"), pytest.raises(DigrapError, match="another download"):
        fetch_all(tmp_path / "root", False, "http://127.0.0.1:9/")


# --- the command's arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset=imagenet"], "nothing to fetch for it"),
        (["keep_zips=1"], "keep_zips=1: give true or false"),
        (["mirorr=x"], "unknown argument 'mirorr=x': give key=value; nearest: mirror"),
        (["version=new"], "dataset.version=new: choose one of original, cleaned"),
        (["mirror=ftp://x"], "mirror=ftp://x: give an address"),
        (["checksums=x"], "goes with mirror=URL"),
        (["shrink=true"], "shrink=True: give the shorter side in pixels"),
        (["workers=many"], "workers=many: give a whole number"),
    ],
)
def test_bad_arguments(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["download.py", f"data_root={tmp_path}", *arguments])
    assert script.door(script.main) == 2 and words in capsys.readouterr().err and names(tmp_path) == []


def test_the_command_itself():
    done = subprocess.run(
        [sys.executable, "scripts/download.py", "data_root=/nonexistent", "verify_only=true"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: dataset=domainnet: no images under /nonexistent/")
    assert "Traceback" not in done.stderr
