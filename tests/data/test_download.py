"""Downloads that go wrong: each ends in the right file or the right message, and nothing wrong on disk."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import resource
import shutil
from collections import namedtuple

import pytest

from digrap.core.errors import DigrapError
from digrap.data.download import fetch as download
from digrap.data.download.errors import NotObtained
from digrap.data.download.fetch import Remote, fetch
from tests.data.downloads import files, no_pause  # noqa: F401
from tests.data.make_domainnet import serve

SIZE = 3 * 2**20 + 17


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


def whole(server, target):
    assert files(target.parent) == ["big.zip"]
    return target.read_bytes() == (server.folder / "big.zip").read_bytes()


def test_a_file_is_fetched_once(server, remote, target):
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0]
    fetch(remote, target)
    assert server.starts("big.zip") == [0]


def test_a_cut_connection_is_resumed(server, remote, target, caplog):
    server.cut["big.zip"] = 2**20 + 5
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0, 2**20 + 5]
    assert f"the connection ended at byte {2**20 + 5} of {SIZE}" in caplog.text


@pytest.mark.parametrize("tagged", [True, False])
def test_a_killed_download_is_resumed_at_the_next_start(server, remote, target, monkeypatch, tagged):
    server.tagged, server.cut["big.zip"] = tagged, 2**20

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download.time, "sleep", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(remote, target)
    assert files(target.parent) == ["big.zip.part", "big.zip.part.json"]
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0, 2**20]


def test_a_file_that_changed_on_the_server_is_not_appended_to_the_old_one(server, remote, target):
    target.parent.mkdir()
    target.with_name("big.zip.part").write_bytes(b"old" * 1000)
    target.with_name("big.zip.part.json").write_text(json.dumps({"url": remote.url, "etag": '"old"'}))
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0]


def test_a_partial_file_of_another_file_is_noticed(server, remote, target, caplog):
    target.parent.mkdir()
    target.with_name("big.zip.part").write_bytes(b"old" * 1000)
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [3000, 0]
    assert "the download is damaged (its md5 differs); downloading it again" in caplog.text


def test_a_server_without_ranges(server, remote, target):
    server.ranges, server.cut["big.zip"] = False, 2**20
    fetch(remote, target)
    assert whole(server, target) and server.starts("big.zip") == [0, 0]


def test_a_damaged_download_is_named_and_repeated(server, remote, target, caplog):
    server.corrupt["big.zip"] = 1
    fetch(remote, target)
    assert whole(server, target) and "big.zip: the download is damaged" in caplog.text


def test_a_file_that_is_always_damaged_is_refused(server, remote, target):
    server.corrupt["big.zip"] = 99
    with pytest.raises(DigrapError, match=r"big.zip: 2 downloads have another md5.*mirror=URL"):
        fetch(remote, target)
    assert files(target.parent) == []


def test_a_short_file_is_named_and_downloaded_again(server, remote, target, caplog):
    server.short["big.zip"] = 1
    fetch(remote, target)
    assert whole(server, target)
    assert f"the server's file has {SIZE - 100} bytes, the published one {SIZE}" in caplog.text


def test_a_file_that_is_always_short_is_refused(server, remote, target):
    server.short["big.zip"] = 99
    with pytest.raises(DigrapError, match=r"5 tries failed, the last with: the server's file has .* or give a mirror"):
        fetch(remote, target)
    assert files(target.parent) == []


def test_a_partial_file_that_is_too_long_is_deleted(server, remote, target):
    target.parent.mkdir()
    target.with_name("big.zip.part").write_bytes(bytes(SIZE + 1))
    fetch(remote, target)
    assert whole(server, target)


def checksums(data, remote):
    """How the message names a file that differs."""
    found = hashlib.md5(data).hexdigest()
    return f"{len(data)} bytes, md5 {found}, are not the published {remote.size} bytes, md5 {remote.md5}"


def test_another_file_on_disk_is_kept_aside_once_the_published_one_is_there(server, remote, target, caplog):
    target.parent.mkdir()
    for number, other in enumerate((b"zipped anew", bytes(SIZE))):
        target.write_bytes(other)
        assert fetch(remote, target)
        kept = target.with_name(f"big.zip.replaced{'' if not number else '2'}")
        assert target.read_bytes() == (server.folder / "big.zip").read_bytes() and kept.read_bytes() == other
        assert f"{target}: {checksums(other, remote)}" in caplog.text and f"is kept as {kept}" in caplog.text
    assert files(target.parent) == ["big.zip", "big.zip.replaced", "big.zip.replaced2"]
    assert not fetch(remote, target)


@pytest.mark.parametrize("fault", ["dead", "404", "corrupt", "full"])
def test_another_file_on_disk_stays_where_there_is_no_replacement(server, remote, target, monkeypatch, fault):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    if fault == "dead":
        remote = dataclasses.replace(remote, url="http://127.0.0.1:9/big.zip")
    elif fault == "404":
        (server.folder / "big.zip").unlink()
    elif fault == "corrupt":
        server.corrupt["big.zip"] = 99
    else:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(2**20))
    words = {
        "dead": "5 tries failed",
        "404": "replied 404",
        "corrupt": "2 downloads have another md5",
        "full": "needed",
    }
    with pytest.raises(DigrapError) as caught:
        fetch(remote, target)
    told = f"{target}: {checksums(b'mine', remote)}; it was kept, because downloading it again failed: "
    assert str(caught.value).startswith(told) and words[fault] in str(caught.value)
    assert files(target.parent) == ["big.zip"] and target.read_bytes() == b"mine"


def test_a_folder_and_a_link_in_the_way_are_kept(server, remote, target, tmp_path):
    (target / "mine").mkdir(parents=True)
    fetch(remote, target)
    assert whole_beside(server, target, "big.zip.replaced") and (target.parent / "big.zip.replaced" / "mine").is_dir()
    target.unlink()
    target.symlink_to(tmp_path / "not mounted")
    fetch(remote, target)
    assert whole_beside(server, target, "big.zip.replaced2") and (target.parent / "big.zip.replaced2").is_symlink()


def whole_beside(server, target, kept):
    there = {path.name for path in target.parent.iterdir()}
    return {"big.zip", kept} <= there and target.read_bytes() == (server.folder / "big.zip").read_bytes()


@pytest.fixture
def small_files_only():
    """No file of this process may grow over 1 MiB: write() then fails with EFBIG, as on FAT32 beyond 4 GiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_is_too_large_for_the_disk_is_an_error_at_once(server, remote, target, small_files_only):
    with pytest.raises(DigrapError, match=r"big.zip.part: cannot be written .*too large.*FAT32: at most") as caught:
        fetch(remote, target)
    assert not isinstance(caught.value, NotObtained) and "give another data_root=" in str(caught.value)
    assert server.starts("big.zip") == [0] and files(target.parent) == ["big.zip.part", "big.zip.part.json"]


@pytest.mark.parametrize("code", ["EFBIG", "ENOSPC", "EIO", "ENODEV", "EINVAL", "ETIMEDOUT", "ESTALE"])
@pytest.mark.parametrize("where", ["open", "write", "close"])
def test_whatever_the_disk_refuses_is_an_error_at_once(server, remote, target, monkeypatch, code, where):
    number = getattr(errno, code)  # ETIMEDOUT and ESTALE: a network file system

    class Refuses(io.FileIO):
        def write(self, data):
            return super().write(data) if where == "close" else refuse()

        def close(self):
            super().close()
            if where == "close":
                refuse()

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    opened = refuse if where == "open" else lambda path, mode: Refuses(path, "w")
    monkeypatch.setattr(download, "open", opened, raising=False)
    with pytest.raises(DigrapError, match=f"big.zip.part: cannot be written .*{os.strerror(number)}"):
        fetch(remote, target)
    assert server.starts("big.zip") == [0]


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "ENOSPC", "EIO"])
def test_the_same_errors_of_a_connection_are_tried_again(remote, target, monkeypatch, code):
    number, asked = getattr(errno, code), []

    def refused(request, timeout):
        asked.append(request.full_url)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(download.urllib.request, "urlopen", refused)
    with pytest.raises(download.Unreachable, match=f"5 tries failed, the last with: .*{os.strerror(number)}"):
        fetch(remote, target)
    assert len(asked) == 5


def test_failures_that_no_second_try_fixes_are_reported_at_once(server, remote, target, monkeypatch):
    with pytest.raises(DigrapError, match="other.zip: the server replied 404"):
        fetch(Remote(server.url + "other.zip", 9, ""), target)
    with pytest.raises(DigrapError, match="5 tries failed, the last with: .*refused"):
        fetch(Remote("http://127.0.0.1:9/big.zip", 9, ""), target)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(2**20))
    with pytest.raises(DigrapError, match="0.00 GB are needed.*make room"):
        fetch(remote, target)
    assert server.asked == [] and files(target.parent) == []
