"""All of DomainNet's archives from a small server, and the command's arguments."""

import logging
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
from filelock import FileLock

from digrap.cli import download
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.domainnet.fetch import fetch_all, remotes
from digrap.data.download.fetch import Remote
from tests.data.downloads import files, names, no_pause  # noqa: F401
from tests.data.make_domainnet import serve


def test_from_nothing_to_whole_and_then_nothing_more(small_domainnet, tmp_path, caplog):
    with serve(small_domainnet.site) as server, caplog.at_level(logging.INFO):
        server.cut["real.zip"] = 20_000
        fetch_all(tmp_path / "root", False, server.url, small_domainnet.checksums)
        assert server.starts("real.zip") == [0, 20_000] and len(server.asked) == 7
        assert fetch_all(tmp_path / "root", False, server.url, small_domainnet.checksums) == []
        assert len(server.asked) == 7
    root = tmp_path / "root"
    assert [name for name in files(root) if name.count("/") == 2] == files(small_domainnet.data_root / "domainnet")
    assert not (root / "zips").exists() and "groundtruth/clipart.zip: 0.00 GB, 1 of 6" in caplog.text


def test_it_stops_and_resumes_at_any_archive(small_domainnet, tmp_path):
    root = tmp_path / "root"
    with serve(small_domainnet.site) as server:
        server.corrupt["real.zip"] = 2
        with pytest.raises(DigrapError, match="real.zip: 2 downloads have another md5"):
            fetch_all(root, False, server.url, small_domainnet.checksums, keep_zips=True)
        assert not (root / "real").exists() and (root / "quickdraw").is_dir()
        shutil.rmtree(root / "painting")  # its zip is still there
        (root / "report-original.json").write_text("{}")  # of the images that are gone
        done = fetch_all(root, True, server.url, small_domainnet.checksums, keep_zips=True)
        assert done == ["painting", "real", "sketch"] and len(server.starts("groundtruth/painting.zip")) == 1
        assert len(files(root / "zips")) == 6 and len(files(root / "cleaned")) == 12
        assert not (root / "report-original.json").exists()


def test_the_official_checksums_are_not_weakened(small_domainnet, tmp_path):
    with pytest.raises(DigrapError, match="goes with mirror=URL; the official files' checksums are fixed"):
        remotes(None, small_domainnet.checksums)
    assert remotes("http://127.0.0.1/x", None)("real.zip") == Remote(
        "http://127.0.0.1/x/real.zip", 6062039589, "dcc47055e8935767784b7162e7c7cca6"
    )
    with pytest.raises(DigrapError, match="has no entry for other.zip"):
        remotes("http://127.0.0.1", small_domainnet.checksums)("other.zip")
    with pytest.raises(DigrapError, match="starts with http"):
        remotes("file:///etc", None)
    (tmp_path / "bad.json").write_text('{"real.zip": 1}')
    with pytest.raises(DigrapError, match="bad.json: cannot be read"):
        remotes("http://127.0.0.1", tmp_path / "bad.json")


def test_disk_space_is_checked_before_the_first_byte(small_domainnet, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(10**9))
    with pytest.raises(DigrapError, match=r"24.5\d GB are needed, 1.00 GB are free"):
        fetch_all(tmp_path / "root", False, "http://127.0.0.1:9/")


def test_two_downloads_into_one_folder(small_domainnet, tmp_path):
    (tmp_path / "root").mkdir()
    with (
        FileLock(tmp_path / "root" / ".download.lock"),
        pytest.raises(DigrapError, match="another download is running"),
    ):
        fetch_all(tmp_path / "root", False, "http://127.0.0.1:9/")


# --- the command's arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset=imagenet"], "nothing to download for it"),
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
    assert door(download.main) == 2 and words in capsys.readouterr().err and names(tmp_path) == []


def test_the_command_itself():
    done = subprocess.run(
        [sys.executable, "scripts/download.py", "data_root=/nonexistent", "verify_only=true"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: dataset=domainnet: no images under /nonexistent/")
    assert "Traceback" not in done.stderr
