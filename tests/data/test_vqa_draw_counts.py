"""What the log says about the questions that a protocol draws."""

import re

import pytest

from digrap.data.vqa.sets.vqav2 import ids_in_order
from digrap.data.vqa.vqav2_splits import build
from tests.data.make_vqa import make

SPLITS = {
    "train": {"set": "vqav2", "kind": "id_train"},
    "val": {"set": "vqav2", "kind": "id_val"},
    "test": {"set": "vqav2", "kind": "id_test"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa")).root


@pytest.mark.parametrize(
    ("protocol", "shares"), [("paper", (1.0, 1.0)), ("paper", (0.5, 0.3)), ("clean", (1.0, 0.5)), ("clean", (0.2, 0.3))]
)
def test_no_more_is_drawn_of_a_part_than_it_has(root, caplog, protocol, shares):
    with caplog.at_level("INFO"):
        data = build(root, SPLITS, protocol, train_share=shares[0], val_share=shares[1])
        ids = {name: {item.question_id for item in split.load().records} for name, split in data.splits.items()}
    told = re.search(r"VQAv2: (\d+) of (\d+) training and (\d+) of (\d+) validation questions drawn", caplog.text)
    parts = {part: set(ids_in_order(root, part)) for part in ("train", "val")}
    drawn = ids["train"] | ids["val"] | ids["test"]
    expected = [count for part in parts.values() for count in (len(drawn & part), len(part))]
    assert list(map(int, told.groups())) == expected
    if shares == (1.0, 1.0):
        assert told[1] == told[2] and told[3] == told[4]
