"""All of DomainNet's archives from a small server, and the command's arguments."""

import hashlib
import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from filelock import FileLock

from digrap.cli import download
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.domainnet.fetch import fetch_all, remotes
from digrap.data.domainnet.lists import Lists
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
        (root / "report-of-mine.json").write_text("{}")
        done = fetch_all(root, True, server.url, small_domainnet.checksums, keep_zips=True)
        assert done == ["painting", "real", "sketch"] and len(server.starts("groundtruth/painting.zip")) == 1
        assert len(files(root / "zips")) == 6 and len(files(root / "cleaned")) == 12
        assert not (root / "report-original.json").exists() and (root / "report-of-mine.json").exists()


def test_the_official_checksums_are_not_weakened(small_domainnet, tmp_path):
    with pytest.raises(DigrapError, match="needs mirror=URL; the official files' checksums are fixed"):
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
        (["keep_zips=maybe"], "keep_zips=maybe: give true or false"),
        (["mirorr=x"], "unknown argument 'mirorr=x': give key=value; nearest: mirror"),
        (["version=new"], "dataset.version=new: choose one of original, cleaned"),
        (["mirror=ftp://x"], "mirror=ftp://x: give an address"),
        (["checksums=x"], "needs mirror=URL"),
        (["shrink=true"], "shrink=true: give the shorter side in pixels"),
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


# --- what the user has put there ------------------------------------------------------------------------------------


@pytest.fixture
def all_but_real(small_domainnet, tmp_path):
    """A root that lacks real alone, with a zip of it that differs in one byte."""
    root = tmp_path / "my data" / "domainnet"
    shutil.copytree(small_domainnet.data_root / "domainnet", root, ignore=shutil.ignore_patterns("real"))
    (root / "zips").mkdir()
    (root / "report-original.json").write_text("{}")
    data = bytearray((small_domainnet.site / "real.zip").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "zips" / "real.zip").write_bytes(data)
    return root


def run_script(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["download.py", "workers=1", *map(str, arguments)])
    return door(download.main), capsys.readouterr().err


@pytest.mark.parametrize("dead", [True, False])
def test_a_zip_with_a_wrong_byte_stays_where_no_other_can_be_had(
    small_domainnet, all_but_real, tmp_path, monkeypatch, capsys, dead
):
    archive = all_but_real / "zips" / "real.zip"
    before, wanted = archive.read_bytes(), json.loads(small_domainnet.checksums.read_text())["real.zip"]["md5"]
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as server:
        keys = [f"data_root={all_but_real.parent}", f"checksums={small_domainnet.checksums}"]
        address = "http://127.0.0.1:9" if dead else server.url
        code, err = run_script(monkeypatch, capsys, *keys, f"mirror={address}", f"lists={small_domainnet.lists}")
    assert code == 2 and "Traceback" not in err and ("tries failed" if dead else "replied 404") in err
    assert f"error: {archive}: " in err and hashlib.md5(before).hexdigest() in err and wanted in err
    assert archive.read_bytes() == before and files(all_but_real / "zips") == ["real.zip"]
    assert (all_but_real / "report-original.json").exists() and not (all_but_real / "real").exists()
    with serve(small_domainnet.site) as server:  # what the message says: another mirror
        assert run_script(monkeypatch, capsys, *keys, f"mirror={server.url}", f"lists={small_domainnet.lists}")[0] == 0
    assert files(all_but_real / "zips") == ["real.zip.replaced"] and (all_but_real / "real").is_dir()
    assert archive.with_name("real.zip.replaced").read_bytes() == before


def test_a_whole_zip_of_the_user_is_unpacked_and_stays(small_domainnet, all_but_real, caplog):
    shutil.copy(small_domainnet.site / "real.zip", all_but_real / "zips" / "real.zip")
    with serve(small_domainnet.site) as server, caplog.at_level(logging.INFO):
        assert fetch_all(all_but_real, False, server.url, small_domainnet.checksums) == ["real"]
        assert server.asked == [] and files(all_but_real / "zips") == ["real.zip"]
    assert "real.zip is no longer needed and may be deleted" in caplog.text


def test_a_zip_that_differs_frees_no_room(small_domainnet, all_but_real, monkeypatch):
    size = (small_domainnet.site / "real.zip").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(2 * size - 1))
    with open(all_but_real / "zips" / "real.zip", "ab") as file:
        file.write(b"longer")
    with pytest.raises(DigrapError, match="are needed"):
        fetch_all(all_but_real, False, "http://127.0.0.1:9/", small_domainnet.checksums)


@pytest.mark.parametrize("name", ["sketch_test.txt", "clipart_train.txt"])  # the config uses the first alone
def test_a_damaged_cleaned_list_is_repaired_by_the_command_that_its_message_gives(
    small_domainnet, tmp_path, monkeypatch, capsys, name
):
    root = tmp_path / "my data" / "domainnet"
    shutil.copytree(small_domainnet.data_root / "domainnet", root)
    shutil.copytree(small_domainnet.cleaned, root / "cleaned")
    facts = json.loads(small_domainnet.checksums.read_text()).items()
    published = {Path(path).stem: (of["size"], of["md5"]) for path, of in facts if path.endswith(".txt")}
    monkeypatch.setattr("digrap.data.domainnet.lists.CLEANED", published)
    path = root / "cleaned" / name
    path.write_bytes(path.read_bytes()[:-30])
    damaged, keys = path.read_bytes(), [f"data_root={root.parent}", "version=cleaned"]
    code, err = run_script(monkeypatch, capsys, *keys, "verify_only=true")
    assert code == 2 and f"{path}: the list is damaged" in err and path.read_bytes() == damaged
    words = shlex.split(re.search("`(.*)`", err)[1])
    assert words[:2] == ["python", "scripts/download.py"]
    with serve(small_domainnet.site) as server:
        more = [f"mirror={server.url}", f"checksums={small_domainnet.checksums}"]
        assert run_script(monkeypatch, capsys, *words[2:], *more)[0] == 0
    assert path.read_bytes() == (small_domainnet.cleaned / path.name).read_bytes()
    assert path.with_name(f"{name}.replaced").read_bytes() == damaged
    assert run_script(monkeypatch, capsys, *keys, "verify_only=true")[0] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("domainnet-32", "data_root=/d shrink=32` fetches it"),
        ("mine", "` fetches it to data/domainnet/cleaned: copy it"),
    ],
)
def test_a_missing_list_of_another_root(name, words):
    with pytest.raises(DigrapError, match=f"python scripts/download.py dataset=domainnet version=cleaned.*{words}"):
        Lists("cleaned", Path("/d") / name).read("real", "train")
