"""DomainNet's images checked and shrunk, and the whole way from a server to a run."""

import json
import shutil
import sys
from functools import partial

import pytest
from PIL import Image

from digrap.cli import download
from digrap.cli.door import door
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.data.domainnet import build
from digrap.data.domainnet.facts import ARCHIVES
from digrap.data.domainnet.lists import Lists
from digrap.data.domainnet.pictures import check_report, shrink, verify
from digrap.data.images import read_truncated
from digrap.engine.run import run
from tests.data.make_domainnet import serve
from tests.data.test_domainnet import SPLITS


@pytest.mark.parametrize("workers", [1, 2])
def test_verify_counts_the_odd_the_missing_and_the_broken(own_domainnet, workers):
    root, folder = own_domainnet
    source = Lists("original", root, folder)
    report = verify(root, source, workers)
    assert report["images"] == 175 and report["missing"] == report["broken"] == []
    assert report["modes"] == {"RGB": 172, "L": 1, "P": 1, "CMYK": 1}
    assert report["truncated"] == ["infograph/cello/infograph_001_000015.jpg"]
    check_report(root, report)
    (root / "real" / "trumpet" / "real_004_000001.jpg").write_bytes(b"")
    with pytest.raises(DigrapError, match="1 of 175 listed images cannot be decoded: real/trumpet/real_004_000001.jpg"):
        check_report(root, verify(root, source, workers))
    (root / "real" / "trumpet" / "real_004_000001.jpg").unlink()
    with pytest.raises(DigrapError, match="1 of 175 listed images are missing: real/trumpet/real_004_000001.jpg"):
        check_report(root, verify(root, source, workers))


def test_shrink_makes_a_second_root_and_resumes_after_a_stop(own_domainnet, tmp_path, monkeypatch):
    root, folder = own_domainnet
    large = root / "real" / "cello" / "real_001_000001.jpg"
    Image.new("RGB", (300, 100), "red").save(large)
    (root / "real" / "cello" / "real_001_999999.jpg").write_bytes(b"not listed, no picture")
    target, calls = tmp_path / "data" / "domainnet-32", []

    def stopping(path):
        calls.append(path)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return read_truncated(path)

    monkeypatch.setattr("digrap.data.domainnet.pictures.read_truncated", stopping)
    with pytest.raises(KeyboardInterrupt):
        shrink(root, target, 32, workers=1)
    assert [path.name for path in sorted(target.iterdir())] == [".infograph.partial", "clipart"]
    assert shrink(root, target, 32, workers=1) == 375  # infograph and the four others
    assert len(calls) == 451 + 1  # none was read twice but that at which it stopped
    assert sorted(path.name for path in target.iterdir()) == sorted(ARCHIVES)
    assert not list(target.rglob(".*"))
    with Image.open(target / "real" / "cello" / large.name) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 32))
    with Image.open(next((target / "quickdraw" / "cello").iterdir())) as image:
        assert (image.format, image.size) == ("PNG", (38, 32))
    data = build(target, SPLITS, lists=folder)
    assert all(min(image.size) == 32 for split in data.splits.values() for image, _ in split.load())
    assert shrink(root, target, 32, workers=1) == 0
    same = shrink(root, tmp_path / "same", 512, workers=1)
    assert same == 450 and (tmp_path / "same" / "real" / "cello" / large.name).read_bytes() == large.read_bytes()
    with pytest.raises(DigrapError, match="shrink=True: give the shorter side"):
        shrink(root, target, True, workers=1)


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capsys):
    """Arguments → exit code, output and errors of scripts/download.py, in this process."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["download.py", "workers=1", *map(str, arguments)])
        code = door(download.main)
        return code, *capsys.readouterr()

    return call


def test_the_script_from_first_byte_to_a_run(small_domainnet, tmp_path, command):
    root = tmp_path / "data" / "domainnet"
    with serve(small_domainnet.site) as server:
        keys = [f"data_root={tmp_path / 'data'}", f"mirror={server.url}", f"checksums={small_domainnet.checksums}"]
        server.cut["real.zip"] = 20_000
        code, out, _ = command(*keys, f"lists={small_domainnet.lists}", "shrink=32")
        assert code == 0 and "175 listed images, 0 missing, 0 broken, 1 truncated; modes: RGB 172" in out
        assert server.starts("real.zip") == [0, 20_000] and f"use dataset.root={root}-32" in out
        report = json.loads((root / "report-original.json").read_text())
        assert report["version"] == "original" and report["images"] == 175
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
        asked = len(server.asked)
        code, out, _ = command(*keys, f"lists={small_domainnet.lists}", "shrink=32")
        assert code == 0 and f"{root}: complete, 175 images checked at" in out and "-32: 0 images made" in out
        assert len(server.asked) == asked
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
        after.pop(root / ".download.lock"), written.pop(root / ".download.lock")
        assert after == written  # a second start does nothing
        shutil.rmtree(root / "sketch")  # what is gone is fetched, and all is checked again
        code, out, _ = command(*keys, f"lists={small_domainnet.lists}")
        assert code == 0 and "175 listed images" in out and server.asked[asked:] == [("sketch.zip", 0)]
        code, out, _ = command(*keys, f"lists={small_domainnet.cleaned}", "version=cleaned")
        assert code == 0 and (root / "report-cleaned.json").exists()
    overrides = [
        "dataset=domainnet", f"data_root={tmp_path / 'data'}", f"dataset.lists={small_domainnet.lists}",
        "backbone=timm", "backbone.model=test_resnet", "backbone.pretrained=false", "backbone.image_size=32",
        "optim=digrap", "trainer.epochs=1", "trainer.batch_size=20", "trainer.micro_batch=20", "trainer.workers=0",
        "trainer.precision=no", "trainer.threads=1", "device=cpu",
    ]  # fmt: skip
    run(compose(overrides), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(result["scores"]) == 7 and result["scores"]["quickdraw"]["kind"] == "near_ood"


def test_a_list_that_names_a_missing_image(small_domainnet, own_domainnet, command):
    root, folder = own_domainnet
    with open(folder / "real_test.txt", "a") as file:
        file.write("real/cello/real_001_000099.jpg 0\n")
    code, out, err = command(f"data_root={root.parent}", f"lists={folder}", "verify_only=true")
    assert code == 2 and "176 listed images, 1 missing" in out
    assert "1 of 176 listed images are missing: real/cello/real_001_000099.jpg; delete" in err
    assert json.loads((root / "report-original.json").read_text())["missing"] == ["real/cello/real_001_000099.jpg"]


def test_verify_only_reads(own_domainnet, command, monkeypatch):
    root, folder = own_domainnet
    monkeypatch.setattr("digrap.data.domainnet.pictures.write_json", partial(_refuse, root))
    before = sorted(root.rglob("*"))
    code, out, err = command(f"data_root={root.parent}", f"lists={folder}", "verify_only=true")
    assert code == 0 and "0 missing" in out and sorted(root.rglob("*")) == before
    shutil.rmtree(root / "real")
    code, out, err = command(f"data_root={root.parent}", f"lists={folder}", "verify_only=true")
    assert code == 2 and "missing folders: real)" in err and len(err.splitlines()) == 1


def _refuse(root, path, _):
    raise PermissionError(13, "Permission denied", str(path))


def test_shrink_copies_the_lists_and_keeps_one_that_differs(small_domainnet, own_domainnet, tmp_path):
    root, _ = own_domainnet
    shutil.copytree(small_domainnet.cleaned, root / "cleaned")
    (root / "cleaned" / "real_test.txt.replaced").write_text("not to be copied")
    (target := tmp_path / "domainnet-32").mkdir()
    (target / "cleaned").mkdir()
    (target / "cleaned" / "real_test.txt").write_text("mine")
    for _ in range(2):
        shrink(root, target, 32, workers=1)
        names = {path.name for path in (target / "cleaned").iterdir()}
        assert names == {path.name for path in small_domainnet.cleaned.iterdir()} | {"real_test.txt.replaced"}
    assert (target / "cleaned" / "real_test.txt.replaced").read_text() == "mine"
    real = (small_domainnet.cleaned / "real_test.txt").read_text()
    assert (target / "cleaned" / "real_test.txt").read_text() == real
