"""DomainNet's splits from images and lists: labels, odd files, and what is missing or wrong."""

import pickle
import shutil

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.data.domainnet import build, lists
from digrap.data.domainnet.facts import CLEANED
from digrap.data.domainnet.lists import in_validation
from tests.data.make_domainnet import CLASSES

SPLITS = {
    "real_train": {"domain": "real", "kind": "id_train"},
    "real_val": {"domain": "real", "kind": "id_val"},
    "real": {"domain": "real", "kind": "id_test"},
    "sketch": {"domain": "sketch", "kind": "near_ood"},
    "infograph": {"domain": "infograph", "kind": "near_ood"},
    "clipart": {"domain": "clipart", "kind": "near_ood"},
    "quickdraw": {"domain": "quickdraw", "kind": "near_ood"},
}


def test_splits_kinds_and_labels(small_domainnet):
    data = build(small_domainnet.data_root / "domainnet", SPLITS, lists=small_domainnet.lists)
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


def test_odd_files_are_read_as_rgb(small_domainnet):
    data = build(small_domainnet.data_root / "domainnet", SPLITS, lists=small_domainnet.lists)
    for name in ("sketch", "quickdraw", "clipart", "infograph"):
        pictures = [image for image, _ in data.splits[name].load()]
        assert all(image.mode == "RGB" and image.size == (48, 40) for image in pictures)
        assert all(np.asarray(image)[:20].std() > 1 for image in pictures)  # infograph: the start of the short one


def test_nothing_is_written_where_images_are_read(own_domainnet):
    root, folder = own_domainnet
    before = sorted(root.rglob("*"))
    for path in [root, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    data = build(root, SPLITS, lists=folder)
    assert sum(len([image for image, _ in split.load()]) for split in data.splits.values()) == 155
    assert sorted(root.rglob("*")) == before
    for path in [root, *before]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_missing_images_are_counted_and_named(own_domainnet):
    root, folder = own_domainnet
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


def test_a_broken_image_is_named_when_read(own_domainnet):
    root, folder = own_domainnet
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
        ("real/cello/real_001_000012.jpg 0", "is listed twice"),
        ("real/cello/a.jpg 1", "cello has label 0 in the training list"),
        ("real/dog/a.jpg 0", "dog is no class in the training list"),
    ],
)
def test_a_wrong_line_is_named(own_domainnet, line, words):
    root, folder = own_domainnet
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
def test_a_training_list_that_names_no_classes(own_domainnet, lines, words):
    root, folder = own_domainnet
    (folder / "real_train.txt").write_text(lines)
    with pytest.raises(DigrapError, match=words):
        build(root, SPLITS, lists=folder)


def test_bad_options_are_named(small_domainnet):
    root = small_domainnet.data_root / "domainnet"
    with pytest.raises(DigrapError, match="dataset.version=new: choose one of original, cleaned"):
        build(root, SPLITS, version="new")
    with pytest.raises(DigrapError, match=r"splits.real.domain=photo: choose one of clipart"):
        build(root, {"real": {"domain": "photo", "kind": "id_test"}})
    with pytest.raises(DigrapError, match="give domain and kind"):
        build(root, {"real": {"kind": "id_test"}})
    with pytest.raises(DigrapError, match="0 of kind id_train"):
        build(root, {"real": SPLITS["real"]}, lists=small_domainnet.lists)
    with pytest.raises(DigrapError, match="there is no such list .found: none.; dataset.lists=null"):
        build(root, SPLITS, lists=root)


def test_cleaned_lists_and_their_validation(small_domainnet, own_domainnet, monkeypatch):
    root, _ = own_domainnet
    with pytest.raises(DigrapError, match=r"cleaned/real_train.txt: there is no .*version=cleaned data_root="):
        build(root, SPLITS, version="cleaned")
    shutil.copytree(small_domainnet.cleaned, root / "cleaned")
    with pytest.raises(DigrapError, match="real_train.txt: the list is damaged"):
        build(root, SPLITS, version="cleaned")
    for path in small_domainnet.cleaned.iterdir():
        monkeypatch.setitem(CLEANED, path.stem, (path.stat().st_size, lists.md5(path.read_bytes())))
    data = build(root, SPLITS, version="cleaned")
    train, val = (data.splits[name].load().samples for name in ("real_train", "real_val"))
    assert val and len(train) + len(val) == 55 and not set(train) & set(val)
    assert all(in_validation(image) for image, _ in val) and not any(in_validation(image) for image, _ in train)
    assert len(data.splits["sketch"].load()) == 19  # without the duplicate
    again = build(root, SPLITS, "cleaned", small_domainnet.cleaned).splits["real_val"].load().samples
    assert [image for image, _ in again] == [image for image, _ in val]
