"""DomainNet: the shipped lists, reading, and the whole way from a server to a run."""

import hashlib
import json
import lzma
import pickle
import shutil
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.domainnet import build, dataset, lists
from digrap.data.domainnet.facts import ARCHIVES, CLEANED
from digrap.data.domainnet.lists import SHIPPED, Lists, in_validation, spoken
from digrap.data.domainnet.pictures import complain, shrink, verify
from digrap.engine.run import run
from scripts import download as script
from tests.data.make_domainnet import CLASSES, make, serve

SPLITS = {
    "real_train": {"domain": "real", "kind": "id_train"},
    "real_val": {"domain": "real", "kind": "id_val"},
    "real": {"domain": "real", "kind": "id_test"},
    "sketch": {"domain": "sketch", "kind": "near_ood"},
    "infograph": {"domain": "infograph", "kind": "near_ood"},
    "clipart": {"domain": "clipart", "kind": "near_ood"},
    "quickdraw": {"domain": "quickdraw", "kind": "near_ood"},
}
LINES = {
    "real_train": 110307, "real_val": 12256, "real_test": 52764, "clipart_test": 14814, "infograph_test": 16114,
    "painting_test": 22892, "quickdraw_test": 51750, "sketch_test": 21271,
}  # fmt: skip
MD5 = {  # of the lists in GT-RIPL/FTP
    "clipart_test": "893ca38d7b5dd76aeb2c3bfdf4cfc694", "infograph_test": "d65fcf3d4e6bf83c53540ccc1eccf911",
    "painting_test": "94b33a288250a5d63b74d02a1812b4c8", "real_test": "a7db28187438a946880c00783dd22f5e",
    "sketch_test": "52cedfdb58b47974b6f5f1adb9d46f3d", "real_train": "4dd0558a6b495a06a095c07ab7aa0974",
    "real_val": "309b7cce82b299e5aac70fad65c1f984", "quickdraw_test": CLEANED["quickdraw_test"][1],
}  # fmt: skip


# --- the shipped lists ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    source = Lists("original", REPO)
    return {name: source.read(*name.split("_")) for name in LINES}


def test_shipped_lists_are_the_published_ones(shipped):
    assert {name: len(entries) for name, entries in shipped.items()} == LINES
    for name, md5 in MD5.items():
        data = lzma.decompress((SHIPPED / f"{name}.txt.xz").read_bytes())
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
    assert sorted(json.loads((SHIPPED / "index.json").read_text())["files"]) == sorted(LINES)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 1.1e6


def test_labels_are_the_lists_not_the_sorted_folders(shipped):
    tables = [lists.class_names(entries, SHIPPED) for entries in shipped.values()]
    names = tables[0]
    assert all(table == names for table in tables) and len(names) == 345
    places = {"cello": 66, "cell_phone": 67, "paintbrush": 205, "paint_can": 206, "trumpet": 326, "t-shirt": 327}
    assert {name: names.index(name) for name in places} == places
    unsorted = {(a, b) for a, b in zip(names, names[1:], strict=False) if a.lower() > b.lower()}
    assert unsorted == {("cello", "cell_phone"), ("paintbrush", "paint_can"), ("trumpet", "t-shirt")}
    spoke = [spoken(name) for name in names]
    assert {"The Eiffel Tower", "t-shirt", "teddy bear", "aircraft carrier", "zigzag"} <= set(spoke)
    assert not any("_" in name for name in spoke) and len(set(spoke)) == 345


def test_train_val_and_test_are_disjoint(shipped):
    train, val, test = ({image for image, _ in shipped[f"real_{part}"]} for part in ("train", "val", "test"))
    assert not (train & val or train & test or val & test) and len(train | val) == 122563


def test_a_damaged_shipped_list_is_named(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED, tmp_path / "lists")
    monkeypatch.setattr(lists, "SHIPPED", tmp_path / "lists")
    monkeypatch.setattr(lists, "REPO", tmp_path)
    path = tmp_path / "lists" / "real_val.txt.xz"
    path.write_bytes(lzma.compress(lzma.decompress(path.read_bytes())[:-300]))
    with pytest.raises(DigrapError, match=r"real_val.txt.xz: the list is damaged .*git checkout -- lists"):
        Lists("original", tmp_path).read("real", "val")
    path.write_bytes(b"no xz")
    with pytest.raises(DigrapError, match=r"real_val.txt.xz: the list cannot be read"):
        Lists("original", tmp_path).read("real", "val")
    with pytest.raises(DigrapError, match=r"sketch_train.txt: there is no such list .*version=cleaned"):
        Lists("original", tmp_path).read("sketch", "train")


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("domainnet"))


@pytest.fixture
def own(made, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(made.data_root, tmp_path / "data")
    shutil.copytree(made.lists, tmp_path / "lists")
    return tmp_path / "data" / "domainnet", tmp_path / "lists"


def test_splits_kinds_and_labels(made):
    data = build(made.data_root / "domainnet", SPLITS, lists=made.lists, metric="accuracy")
    assert data.classes == ("cello", "cell phone", "teddy bear", "trumpet", "t-shirt")
    assert {name: split.kind for name, split in data.splits.items()} == {n: o["kind"] for n, o in SPLITS.items()}
    sizes = {name: len(split.load()) for name, split in data.splits.items()}
    assert sizes == {
        "real_train": 40, "real_val": 15, "real": 20, "sketch": 20, "infograph": 20, "clipart": 20, "quickdraw": 20,
    }  # fmt: skip
    test = data.splits["real"].load()
    assert sorted(set(zip((image.split("/")[1] for image, _ in test.samples), test.targets, strict=True))) == sorted(
        (name, label) for label, name in enumerate(CLASSES)
    )
    image, label = test[0]
    assert image.mode == "RGB" and image.size == (48, 40) and label == test.targets[0]
    assert pickle.loads(pickle.dumps(test)).samples == test.samples  # spawned loading processes


def test_odd_files_are_read_as_rgb(made):
    data = build(made.data_root / "domainnet", SPLITS, lists=made.lists)
    for name in ("sketch", "quickdraw", "clipart", "infograph"):
        pictures = [image for image, _ in data.splits[name].load()]
        assert all(image.mode == "RGB" and image.size == (48, 40) for image in pictures)
        assert all(np.asarray(image)[:20].std() > 1 for image in pictures)  # infograph: the start of the short one


def test_nothing_is_written_where_images_are_read(own):
    root, folder = own
    before = sorted(root.rglob("*"))
    for path in [root, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    data = build(root, SPLITS, lists=folder)
    assert sum(len([image for image, _ in split.load()]) for split in data.splits.values()) == 155
    assert sorted(root.rglob("*")) == before
    for path in [root, *before]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_missing_images_are_counted_and_named(own):
    root, folder = own
    for number in (1, 2, 3, 4):
        (root / "real" / "cello" / f"real_001_{number:06}.jpg").unlink()
    split = build(root, SPLITS, lists=folder).splits["real_train"]
    with pytest.raises(DigrapError) as caught:
        split.load()
    text = str(caught.value)
    assert (
        f"{root}: 4 of 40 listed images are missing: real/cello/real_001_000001.jpg, real/" in text and " …; " in text
    )
    assert f"delete {root / 'real'} and run `python scripts/download.py dataset=domainnet data_root=" in text
    shutil.rmtree(root / "real")
    with pytest.raises(DigrapError, match=r"no images under .*missing folders: real\).*18.4 GB.*minidomainnet"):
        build(root, SPLITS, lists=folder)
    with pytest.raises(DigrapError, match=r"dataset=domainnet data_root=/x shrink=256`"):
        build("/x/domainnet-256", SPLITS)


def test_a_broken_image_is_named_when_read(own):
    root, folder = own
    path = root / "sketch" / "cello" / "sketch_001_000012.jpg"
    path.write_bytes(b"no picture")
    loaded = build(root, SPLITS, lists=folder).splits["sketch"].load()
    with pytest.raises(DigrapError, match=f"{path}: the picture cannot be read"):
        list(loaded)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("real/cello/a.jpg", r"real_test.txt:21: 'real/cello/a.jpg' is not `real/<class>/<file> <label>`"),
        ("sketch/cello/a.jpg 0", "is not `real/"),
        ("real/../a.jpg 0", "is not `real/"),
        ("real/cello/real_001_000012.jpg 0", "is in the list twice"),
        ("real/cello/a.jpg 1", "cello has label 0 in the training list"),
        ("real/dog/a.jpg 0", "dog is not in the training list"),
    ],
)
def test_a_wrong_line_is_named(own, line, words):
    root, folder = own
    with open(folder / "real_test.txt", "a") as file:
        file.write(line + "\n")
    with pytest.raises(DigrapError, match=words):
        build(root, SPLITS, lists=folder).splits["real"].load()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("real/a/1.jpg 0\nreal/b/1.jpg 0\n", "label 0 is a and b"),
        ("real/a/1.jpg 0\nreal/b/1.jpg 2\n", "no image of label 1"),
        ("real/a/1.jpg 0\nreal/a/2.jpg 1\n", "a class has two labels"),
        ("", "no image for real train"),
    ],
)
def test_a_training_list_that_names_no_classes(own, lines, words):
    root, folder = own
    (folder / "real_train.txt").write_text(lines)
    with pytest.raises(DigrapError, match=words):
        build(root, SPLITS, lists=folder)


def test_bad_options_are_named(made):
    root = made.data_root / "domainnet"
    with pytest.raises(DigrapError, match="dataset.version=new: choose one of original, cleaned"):
        build(root, SPLITS, version="new")
    with pytest.raises(DigrapError, match=r"splits.real.domain=photo: choose one of clipart"):
        build(root, {"real": {"domain": "photo", "kind": "id_test"}})
    with pytest.raises(DigrapError, match="give domain and kind"):
        build(root, {"real": {"kind": "id_test"}})
    with pytest.raises(DigrapError, match="0 of kind id_train"):
        build(root, {"real": SPLITS["real"]}, lists=made.lists)
    with pytest.raises(DigrapError, match="there is no such list .there: none.; dataset.lists=null"):
        build(root, SPLITS, lists=root)


def test_cleaned_lists_and_their_validation(made, own, monkeypatch):
    root, _ = own
    with pytest.raises(DigrapError, match=r"cleaned/real_train.txt: there is no .*version=cleaned data_root="):
        build(root, SPLITS, version="cleaned")
    shutil.copytree(made.cleaned, root / "cleaned")
    with pytest.raises(DigrapError, match="real_train.txt: the list is damaged"):
        build(root, SPLITS, version="cleaned")
    for path in made.cleaned.iterdir():
        monkeypatch.setitem(CLEANED, path.stem, (path.stat().st_size, lists.md5(path.read_bytes())))
    data = build(root, SPLITS, version="cleaned")
    train, val = (data.splits[name].load().samples for name in ("real_train", "real_val"))
    assert val and len(train) + len(val) == 55 and not set(train) & set(val)
    assert all(in_validation(image) for image, _ in val) and not any(in_validation(image) for image, _ in train)
    assert len(data.splits["sketch"].load()) == 19  # without the duplicate
    assert [image for image, _ in build(root, SPLITS, "cleaned", made.cleaned).splits["real_val"].load().samples] == [
        image for image, _ in val
    ]


def test_the_carved_validation_is_a_fixed_tenth(shipped):
    chosen = [image for image, _ in shipped["real_train"] if in_validation(image)]
    assert abs(len(chosen) / 110307 - 0.1) < 0.003
    assert len({image.split("/")[1] for image in chosen}) == 345
    assert hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:16] == "a9d58ce192d818d7"


# --- checking and shrinking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_verify_counts_the_odd_the_missing_and_the_broken(own, workers):
    root, folder = own
    source = Lists("original", root, folder)
    report = verify(root, source, workers)
    assert report["images"] == 175 and report["missing"] == report["broken"] == []
    assert report["modes"] == {"RGB": 172, "L": 1, "P": 1, "CMYK": 1}
    assert report["truncated"] == ["infograph/cello/infograph_001_000015.jpg"]
    complain(root, report)
    (root / "real" / "trumpet" / "real_004_000001.jpg").write_bytes(b"")
    with pytest.raises(DigrapError, match="1 of 175 listed images cannot be decoded: real/trumpet/real_004_000001.jpg"):
        complain(root, verify(root, source, workers))
    (root / "real" / "trumpet" / "real_004_000001.jpg").unlink()
    with pytest.raises(DigrapError, match="1 of 175 listed images are missing: real/trumpet/real_004_000001.jpg"):
        complain(root, verify(root, source, workers))


def test_shrink_makes_a_second_root_and_goes_on_after_a_stop(own, tmp_path, monkeypatch):
    root, folder = own
    large = root / "real" / "cello" / "real_001_000001.jpg"
    Image.new("RGB", (300, 100), "red").save(large)
    (root / "real" / "cello" / "real_001_999999.jpg").write_bytes(b"not listed, no picture")
    target, calls = tmp_path / "data" / "domainnet-32", []

    def stopping(path):
        calls.append(path)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return dataset.read_listed(path)

    monkeypatch.setattr("digrap.data.domainnet.pictures.read_listed", stopping)
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
        code = script.door(script.main)
        return code, *capsys.readouterr()

    return call


def test_the_script_from_first_byte_to_a_run(made, tmp_path, command):
    root = tmp_path / "data" / "domainnet"
    with serve(made.site) as server:
        keys = [f"data_root={tmp_path / 'data'}", f"mirror={server.url}", f"checksums={made.checksums}"]
        server.cut["real.zip"] = 20_000
        code, out, _ = command(*keys, f"lists={made.lists}", "shrink=32")
        assert code == 0 and "175 listed images, 0 missing, 0 broken, 1 truncated; modes: RGB 172" in out
        assert server.starts("real.zip") == [0, 20_000] and f"use dataset.root={root}-32" in out
        report = json.loads((root / "report-original.json").read_text())
        assert report["version"] == "original" and report["images"] == 175
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
        asked = len(server.asked)
        code, out, _ = command(*keys, f"lists={made.lists}", "shrink=32")
        assert code == 0 and f"{root}: whole, 175 images checked at" in out and "-32: 0 images made" in out
        assert len(server.asked) == asked
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
        after.pop(root / ".download.lock"), written.pop(root / ".download.lock")
        assert after == written  # a second start does nothing
        shutil.rmtree(root / "sketch")  # what is gone is fetched, and all is checked again
        code, out, _ = command(*keys, f"lists={made.lists}")
        assert code == 0 and "175 listed images" in out and server.asked[asked:] == [("sketch.zip", 0)]
        code, out, _ = command(*keys, f"lists={made.cleaned}", "version=cleaned")
        assert code == 0 and (root / "report-cleaned.json").exists()
    overrides = [
        "dataset=domainnet", f"data_root={tmp_path / 'data'}", f"dataset.lists={made.lists}", "backbone=timm",
        "backbone.model=test_resnet", "backbone.pretrained=false", "backbone.image_size=32", "optim=digrap",
        "trainer.epochs=1", "trainer.batch_size=20", "trainer.micro_batch=20", "trainer.workers=0",
        "trainer.precision=no", "trainer.threads=1", "device=cpu",
    ]  # fmt: skip
    run(compose(overrides), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(result["scores"]) == 7 and result["scores"]["quickdraw"]["kind"] == "near_ood"


def test_a_list_that_names_a_missing_image(made, own, command):
    root, folder = own
    with open(folder / "real_test.txt", "a") as file:
        file.write("real/cello/real_001_000099.jpg 0\n")
    code, out, err = command(f"data_root={root.parent}", f"lists={folder}", "verify_only=true")
    assert code == 2 and "176 listed images, 1 missing" in out
    assert "1 of 176 listed images are missing: real/cello/real_001_000099.jpg; delete" in err
    assert json.loads((root / "report-original.json").read_text())["missing"] == ["real/cello/real_001_000099.jpg"]


def test_verify_only_reads(own, command, monkeypatch):
    root, folder = own
    monkeypatch.setattr("digrap.data.domainnet.pictures.write_json", partial(_refuse, root))
    before = sorted(root.rglob("*"))
    code, out, err = command(f"data_root={root.parent}", f"lists={folder}", "verify_only=true")
    assert code == 0 and "0 missing" in out and sorted(root.rglob("*")) == before
    shutil.rmtree(root / "real")
    code, out, err = command(f"data_root={root.parent}", f"lists={folder}", "verify_only=true")
    assert code == 2 and "missing folders: real)" in err and len(err.splitlines()) == 1


def _refuse(root, path, _):
    raise PermissionError(13, "Permission denied", str(path))
