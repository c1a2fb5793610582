"""What the tests of downloads share: archives with bad entries, listings, and no pause between tries."""

import stat
import zipfile

import pytest

from digrap.data.download import fetch as download

OUTSIDE = ["../evil.jpg", "real/../../evil.jpg", "/tmp/evil.jpg", "real\\..\\evil.jpg", "C:/evil"]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", 5)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def names(folder):
    return [path.name for path in folder.iterdir()]


def zipped(path, *names, link=None):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"image")
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, "/etc")
    return path
