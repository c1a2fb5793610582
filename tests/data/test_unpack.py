"""Archives with unsafe entries, damaged ones, and unpacking that is interrupted."""

import gzip
import shutil
import tarfile
import zipfile
from collections import namedtuple

import pytest

from digrap.core.errors import DigrapError
from digrap.data.download.errors import NotObtained
from digrap.data.download.unpack import unpack
from tests.data.downloads import OUTSIDE, files, names, zipped
from tests.data.vqa_site import pack


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
    with pytest.raises(DigrapError, match="has neither files in sketch/"):
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


# --- .tar.gz --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTSIDE)
def test_entries_of_a_tar_outside_the_folder_are_refused(tmp_path, name):
    pack(tmp_path / "x.tar.gz", {"a/val2014/1.jpg": b"image", name: b"evil"})
    with pytest.raises(NotObtained, match="points outside the folder; nothing was unpacked"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "root", "val2014")
    assert files(tmp_path) == ["x.tar.gz"] and list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as file:
        file.addfile(tarfile.TarInfo("val2014/1.jpg"))
        info = tarfile.TarInfo("val2014/2.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    with pytest.raises(NotObtained, match="'val2014/2.jpg' is a link or a device; nothing was unpacked"):
        unpack(tmp_path / "x.tar.gz", tmp_path, "val2014")
    assert files(tmp_path) == ["x.tar.gz"]


def test_the_folder_nearest_to_the_top_is_meant(tmp_path):
    for suffix in ("zip", "tar.gz"):
        path, root = tmp_path / f"x.{suffix}", tmp_path / suffix
        pack(path, {"a/val/val/1.jpg": b"1", "a/b/val/2.jpg": b"2", "__MACOSX/val/3.jpg": b"3", "a/val/b/4": b"4"})
        unpack(path, root, "val")
        assert files(root) == ["val/b/4", "val/val/1.jpg"]
        pack(path, {"a/val/1.jpg": b"1", "b/val/2.jpg": b"2"})
        with pytest.raises(NotObtained, match="both a/val and b/val end in val; unpack the right one by hand"):
            unpack(path, root, "other", "val")
        with pytest.raises(NotObtained, match="has neither files in 0.1/x.json/ nor a file of that name"):
            unpack(path, root, "x.json", "0.1/x.json")
        assert files(root) == ["val/b/4", "val/val/1.jpg"] and [path.name for path in root.iterdir()] == ["val"]


def test_a_damaged_tar_leaves_no_folder(tmp_path):
    path = tmp_path / "x.tar.gz"
    pack(path, {"val2014/1.jpg": bytes(range(256)) * 99})
    whole = path.read_bytes()
    checksum = bytearray(whole)
    checksum[-6] ^= 1  # of gzip's last eight bytes
    for data in (whole[: len(whole) // 2], bytes(checksum), b"no archive", gzip.compress(b"no tar" * 999)):
        path.write_bytes(data)
        with pytest.raises(NotObtained, match="x.tar.gz: cannot be unpacked .*delete it or move it away"):
            unpack(path, tmp_path, "val2014")
    assert files(tmp_path) == ["x.tar.gz"]
