"""DomainNet-oVQA: records of DomainNet's lists and of the authors' files."""

import json
import logging
import pickle

import pytest
from PIL import Image

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.data import domainnet
from digrap.data.domainnet.ovqa import build, open_source, questions
from digrap.engine.build import build_data

SPOKEN = ("cello", "cell phone", "teddy bear", "trumpet", "t-shirt")
SPLITS = {
    "real_train": {"domain": "real", "kind": "id_train"},
    "real_val": {"domain": "real", "kind": "id_val"},
    "real": {"domain": "real", "kind": "id_test"},
    "sketch": {"domain": "sketch", "kind": "near_ood"},
    "quickdraw": {"domain": "quickdraw", "kind": "far_ood"},
}


@pytest.fixture
def made(small_domainnet):
    return small_domainnet


@pytest.fixture
def module(made):
    return build(made.data_root / "domainnet", SPLITS, lists=made.lists)


def annotate(made, folder, change=lambda name, data: data):
    """The lists as the authors' files; `change(file name, content)` may damage one."""
    folder.mkdir()
    files = {"classes_data": [{"class_idx": n, "clip_bench_label": name} for n, name in enumerate(SPOKEN)]}
    for path in made.lists.glob("*.txt"):
        name = path.stem + ("" if path.stem.endswith("_test") else "_split")
        rows = [line.rsplit(" ", 1) for line in path.read_text().splitlines()]
        files[name] = {image.rpartition(".")[0]: {"class_idx": int(n), "image": image} for image, n in reversed(rows)}
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(change(name, data)))
    return folder


def test_pictures_and_order_are_domainnets(made, module):
    plain = domainnet.build(made.data_root / "domainnet", SPLITS, lists=made.lists)
    assert module.classes == SPOKEN and list(module.splits) == list(SPLITS)
    for name, split in module.splits.items():
        ours, theirs = split.load(), plain.splits[name].load()
        assert (split.kind, split.dataset) == (SPLITS[name]["kind"], "domainnet_ovqa")
        assert len(ours) == len(theirs) and ours.targets == theirs.targets
        for place in range(len(theirs)):
            (image, record), (expected, label) = ours[place], theirs[place]
            assert image.mode == "RGB" and image.tobytes() == expected.tobytes()
            assert record.answers == (SPOKEN[label],) * 10 and record.target == SPOKEN[label]
            assert record.image == theirs.samples[place][0]


def test_a_record(made, module):
    sketch = module.splits["sketch"].load()
    image, record = sketch[4 * 2 + 1]
    assert isinstance(image, Image.Image)
    path = (made.lists / "sketch_test.txt").read_text().splitlines()[9].split(" ")[0]
    assert path.startswith("sketch/teddy-bear/")
    assert record.id == record.question_id == "9" and record.question == "What is in the image?"
    assert record.answers == ("teddy bear",) * 10 and record.target == "teddy bear"
    assert (record.dataset, record.kind, record.shift) == ("domainnet_ovqa", "near_ood", "")
    assert record.picture == f"domainnet:{path}" and record.image == record.image_id == path
    kinds = {name: split.load().records[0].kind for name, split in module.splits.items()}
    assert kinds == {"real_train": "id", "real_val": "id", "real": "id", "sketch": "near_ood", "quickdraw": "far_ood"}
    assert pickle.loads(pickle.dumps(sketch))[9][1] == record  # as loading processes get it


def test_ids_are_unique_and_the_question_is_the_configs(made):
    module = build(made.data_root / "domainnet", SPLITS, lists=made.lists, question="What is this?")
    records = module.splits["real_train"].load().records
    assert [record.id for record in records] == [str(n) for n in range(40)]
    assert {record.question for record in records} == {"What is this?"}


def test_names_of_the_shipped_lists():
    """All 345, among them those that are odd; no image is looked for."""
    source = open_source("/nowhere", SPLITS)
    assert len(source.classes) == len(set(source.classes)) == 345
    assert {"teddy bear", "t-shirt", "The Eiffel Tower", "The Great Wall of China", "aircraft carrier"} <= {
        *source.classes
    }
    assert not [name for name in source.classes if "_" in name]
    entries = source.read("sketch", "test")
    records = questions(entries, source.classes, "near_ood")
    assert len(records) == 21271 and records[-1].id == "21270"


def test_the_config_builds_it(made):
    root = f"data_root={made.data_root}"
    cfg = compose(["dataset=domainnet_ovqa", root, f"dataset.lists={made.lists}"])
    found = build_data(cfg)
    assert found.classes == SPOKEN and len(found.splits) == 8 and len(found.of_kind("near_ood")) == 5
    assert cfg.dataset.splits == compose(["dataset=domainnet", root]).dataset.splits
    assert found.splits["painting"].load().records[0].question == "What is in the image?"


def test_the_authors_files(made, tmp_path):
    folder = annotate(made, tmp_path / "json")
    root = made.data_root / "domainnet"
    module = build(root, SPLITS, annotations=str(folder))
    assert module.classes == SPOKEN
    for name, split in module.splits.items():
        found, listed = split.load(), build(root, SPLITS, lists=made.lists).splits[name].load()
        assert [record.image for record in found.records] == [record.image for record in reversed(listed.records)]
        assert found.targets == listed.targets[::-1]  # the file's order, which is the numbers' order
        assert [record.id for record in found.records] == [str(n) for n in range(len(listed))]
        assert found[0][1].answers == listed[len(listed) - 1][1].answers


def _without(name, place=0):
    return lambda data: [{**entry, name: None} if n == place else entry for n, entry in enumerate(data)]


def _first(**values):
    return lambda data: {key: entry | values if n == 0 else entry for n, (key, entry) in enumerate(data.items())}


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("classes_data", _without("clip_bench_label", 2), "classes_data.json: entry 2 has no clip_bench_label"),
        ("classes_data", lambda data: {}, "classes_data.json: is not a list of classes .empty, or a dict"),
        ("sketch_test", lambda data: [], "sketch_test.json: is not an object of entries"),
        ("sketch_test", lambda data: {"a": {"image": "x"}}, "entry 'a' has no class_idx and image"),
        ("sketch_test", lambda data: {"a": 3}, "entry 'a' has no class_idx and image"),
        ("sketch_test", _first(class_idx=5), "sketch_test.json:1: .* has class_idx 5, the classes end at 4"),
        ("sketch_test", _first(class_idx=-1), "sketch_test.json:1: .* is not `sketch/<class>/<file> <label>`"),
        ("sketch_test", _first(image="real/cello/a.jpg"), "sketch_test.json:1: .* is not `sketch/<class>/<file>"),
        ("sketch_test", _first(image="sketch/cello/a.jpg"), "1 of 20 listed images are missing: sketch/cello/a.jpg"),
    ],
)
def test_what_is_wrong_in_the_authors_files_is_named(made, tmp_path, file, change, words):
    folder = annotate(made, tmp_path / "json", lambda name, data: change(data) if name == file else data)
    with pytest.raises(DigrapError, match=words):
        build(made.data_root / "domainnet", SPLITS, annotations=folder).splits["sketch"].load()


def test_files_that_are_missing_or_cut_short_are_named(made, tmp_path):
    root = made.data_root / "domainnet"
    with pytest.raises(DigrapError, match="classes_data.json does not exist.*dataset.annotations=null uses"):
        build(root, SPLITS, annotations=tmp_path)
    folder = annotate(made, tmp_path / "json")
    (folder / "real_val_split.json").unlink()
    (folder / "real_test.json").write_text("{")
    module = build(root, SPLITS, annotations=folder)
    with pytest.raises(DigrapError, match="real_val_split.json does not exist"):
        module.splits["real_val"].load()
    with pytest.raises(DigrapError, match="real_test.json is not JSON"):
        module.splits["real"].load()


def test_labels_in_another_order_are_logged(made, tmp_path, caplog):
    """ImageFolder's sorted order, say, has cell_phone before cello."""

    def swap(name, data):
        return [data[1], data[0], *data[2:]] if name == "classes_data" else data

    module = build(made.data_root / "domainnet", SPLITS, annotations=annotate(made, tmp_path / "json", swap))
    with caplog.at_level(logging.WARNING):
        module.splits["sketch"].load()
    assert "2 of 5 classes are not named as their folders: cello is cell phone, cell phone is cello" in caplog.text


def test_missing_files_give_domainnets_message(made, tmp_path):
    with pytest.raises(DigrapError, match="no images under .*scripts/download.py dataset=domainnet"):
        build(tmp_path, SPLITS, lists=made.lists)
    root = made.data_root / "domainnet"
    with pytest.raises(DigrapError, match="dataset.version=new: choose one of"):
        build(root, SPLITS, version="new")
    with pytest.raises(DigrapError, match="dataset.splits.real.kind=test: choose one of"):
        build(root, SPLITS | {"real": {"domain": "real", "kind": "test"}}, lists=made.lists)
    for options in ({"lists": made.lists}, {"version": "cleaned"}):
        with pytest.raises(DigrapError, match="replaces the lists; leave out dataset.lists and dataset.version"):
            build(root, SPLITS, annotations=tmp_path, **options)


def test_what_training_has_of_the_tests_is_compared_once_loaded(made, module):
    found = module.about()
    assert found["training_questions"] == len(module.splits["real_train"].load()) and found["problems"] == {}
    assert set(found["leaks"]) == set(SPLITS) - {"real_train"}
    for name, counts in found["leaks"].items():
        assert counts["questions"] == counts["pictures"] == len(module.splits[name].load())
        assert counts["pictures_leaked"] == counts["by_text"] == 0
        assert module.splits[name].load() is module.splits[name].load()
