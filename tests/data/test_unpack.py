"""Archives that hold what they should not, or not whole."""

import gzip
import tarfile

import pytest

from digrap.data.download.fetch import NotObtained, unpack
from tests.data.test_download import OUTSIDE, files
from tests.data.test_vqa_download import pack


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
        with pytest.raises(NotObtained, match="which of a/val and b/val. Unpack it by hand"):
            unpack(path, root, "other", "val")
        with pytest.raises(NotObtained, match="holds no file in 0.1/x.json/ and none of that name"):
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
        with pytest.raises(NotObtained, match="x.tar.gz: cannot be unpacked .*delete it and start again"):
            unpack(path, tmp_path, "val2014")
    assert files(tmp_path) == ["x.tar.gz"]


# --- the command's arguments ------------------------------------------------------------------------------------------
