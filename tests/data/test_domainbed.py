"""DomainBed's sets in its layout: one domain trains and is held out from, the others are tested."""

import json
import shutil

import numpy as np
import pytest

from digrap.config.compose import compose
from digrap.config.schema import split_kinds
from digrap.core.errors import DigrapError
from digrap.engine.build import build_data
from digrap.engine.run import run
from tests.data.make_shifts import draw, make_domainbed
from tests.data.test_imagenet import TINY
from tests.engine.test_other_data import evaluate

SETS = {
    "PACS": ("photo", {"art_painting", "cartoon", "sketch"}),
    "VLCS": ("SUN09", {"Caltech101", "LabelMe", "VOC2007"}),
    "office_home": ("Real World", {"Art", "Clipart", "Product"}),
    "terra_incognita": ("location_38", {"location_43", "location_46", "location_100"}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("domainbed")
    for name, (source, others) in SETS.items():
        make_domainbed(root, name, {source, *others}, count=10 if name == "PACS" else 4)
    return root


def data_of(root, *more):
    return build_data(compose(["dataset=domainbed", f"dataset.root={root}", *more]))


@pytest.mark.parametrize("name", SETS)
def test_every_set_in_its_layout(root, name):
    source, others = SETS[name]
    words = [f"dataset.set={name}", f"dataset.source={source}", "dataset.holdout=0.2"]
    data = data_of(root, *words)
    kinds = {split.name: split.kind for split in data.splits.values()}
    assert kinds == {"train": "id_train", "val": "id_val", "test": "id_test", **dict.fromkeys(others, "near_ood")}
    assert kinds == split_kinds(compose(["dataset=domainbed", *words])) and data.classes == ("dog", "guitar", "house")


def test_the_source_is_divided_by_class_and_the_others_are_whole(root):
    data = data_of(root, "dataset.source=cartoon")
    parts = {name: split.load() for name, split in data.splits.items()}
    assert {name: np.bincount(part.targets).tolist() for name, part in parts.items()} == {
        "train": [8, 8, 8], "val": [1, 1, 1], "test": [1, 1, 1],
        "art_painting": [10, 10, 10], "photo": [10, 10, 10], "sketch": [10, 10, 10],
    }  # fmt: skip
    ids = [set(parts[name].ids) for name in ("train", "val", "test")]
    assert len(set.union(*ids)) == 30 == sum(map(len, ids)) and parts["val"].root.endswith("PACS/cartoon")


def test_what_is_wrong_is_named(root, tmp_path):
    with pytest.raises(DigrapError, match="dataset.set=VLSC: there is no such set; nearest: VLCS"):
        data_of(root, "dataset.set=VLSC")
    with pytest.raises(DigrapError, match="dataset.source=photo: VLCS has no such domain; valid: Caltech101, LabelMe"):
        data_of(root, "dataset.set=VLCS")
    shutil.copytree(root / "VLCS", tmp_path / "VLCS")
    draw(tmp_path / "VLCS" / "Caltech101" / "bird" / "0.jpg", 0)
    with pytest.raises(DigrapError, match="VLCS/Caltech101/bird is a class that the training split does not have"):
        data_of(tmp_path, "dataset.set=VLCS", "dataset.source=SUN09")
    shutil.copytree(root / "PACS" / "photo", tmp_path / "PACS" / "photo")
    with pytest.raises(DigrapError) as caught:
        data_of(tmp_path)
    text = str(caught.value)
    assert "PACS lacks art_painting, cartoon, sketch (there: photo); expected: " in text and "\n" not in text
    assert "domainbed/scripts/download.py of https://github.com/facebookresearch/DomainBed" in text
    with pytest.raises(
        DigrapError, match="photo/dog: its 10 pictures are too few to hold out 2 × 5; .*dataset.holdout"
    ):
        data_of(root, "dataset.holdout=0.49").splits["train"].load()


def test_one_domain_trains_and_the_others_are_tested(root, tmp_path):
    folder = tmp_path / "0123456789"
    run(compose(["dataset=domainbed", f"dataset.root={root}", *TINY]), folder)
    scores = json.loads((folder / "results.json").read_text())["scores"]
    counts = {name: score["n"] for name, score in scores.items()}
    assert counts == {"val": 3, "test": 3, "art_painting": 30, "cartoon": 30, "sketch": 30}
    found = evaluate(f"run={folder}", "dataset=domainbed", f"dataset.root={root}")["scores"]
    assert {name: score["accuracy"] for name, score in found.items()} == {
        name: scores[name]["accuracy"] for name in ("art_painting", "cartoon", "sketch")
    }
