"""DomainNet's shipped lists: the published ones, their labels, damage, and the held-out validation."""

import hashlib
import json
import lzma
import shutil

import pytest

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.domainnet import lists
from digrap.data.domainnet.facts import CLEANED
from digrap.data.domainnet.lists import SHIPPED, Lists, in_validation, spoken

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
    names_as_text = [spoken(name) for name in names]
    assert {"The Eiffel Tower", "t-shirt", "teddy bear", "aircraft carrier", "zigzag"} <= set(names_as_text)
    assert not any("_" in name for name in names_as_text) and len(set(names_as_text)) == 345


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


def test_the_held_out_validation_is_a_fixed_tenth(shipped):
    chosen = [image for image, _ in shipped["real_train"] if in_validation(image)]
    assert abs(len(chosen) / 110307 - 0.1) < 0.003
    assert len({image.split("/")[1] for image in chosen}) == 345
    assert hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:16] == "a9d58ce192d818d7"
