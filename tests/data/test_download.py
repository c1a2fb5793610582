"""Downloads that go wrong: each ends in the right file or the right message, and nothing wrong on disk."""

import hashlib
import json
import os
import shutil
from collections import namedtuple

import pytest

from digrap.core.errors import DigrapError
from digrap.data.download import fetch as download
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


def test_a_damaged_file_on_disk_is_downloaded_again(server, remote, target, caplog):
    target.parent.mkdir()
    target.write_bytes(bytes(SIZE))
    fetch(remote, target)
    assert whole(server, target) and f"{target}: damaged" in caplog.text


def test_failures_that_no_second_try_fixes_are_reported_at_once(server, remote, target, monkeypatch):
    with pytest.raises(DigrapError, match="other.zip: the server says 404"):
        fetch(Remote(server.url + "other.zip", 9, ""), target)
    with pytest.raises(DigrapError, match="5 tries failed, the last with: .*refused"):
        fetch(Remote("http://127.0.0.1:9/big.zip", 9, ""), target)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(2**20))
    with pytest.raises(DigrapError, match="0.00 GB are needed.*make room"):
        fetch(remote, target)
    assert server.asked == [] and files(target.parent) == []
