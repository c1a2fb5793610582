"""ImageNet's shifted test sets in their published layouts: classes by WordNet id, parts of them, what is missing."""

import json
import logging
import shutil

import numpy as np
import pytest

from digrap.cli.page_pictures import Pictures
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.data.imagenet import build
from digrap.engine.build import build_data
from digrap.engine.run import run
from digrap.report.gather import load_run
from digrap.runs.predictions import read_bundle
from tests.data.make_shifts import TRAINED, WORDNET, WORDS, make_imagenet
from tests.engine.test_other_data import evaluate

CLASSES = tuple(f"{WORDNET[place]} {WORDS[place]}" for place in TRAINED)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_imagenet(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture
def copied(root, tmp_path):
    return shutil.copytree(root, tmp_path / "imagenet")


def options(root, *more):
    return ["dataset=imagenet_shifts", f"dataset.root={root}", "dataset.holdout=0.25", *more]


def data_of(root, *more):
    return build_data(compose(options(root, *more)))


def labels(pictures):
    return dict(zip(pictures.ids, pictures.targets, strict=True))


def test_classes_are_wordnet_ids_with_words(root):
    data = data_of(root)
    assert data.classes == CLASSES
    kinds = {name: split.kind for name, split in data.splits.items()}
    assert kinds["held_out"] == "id_val" and kinds["val"] == "id_test" and kinds["objectnet"] == "near_ood"
    assert list(kinds)[3:] == ["imagenet_v2", "imagenet_r", "imagenet_sketch", "imagenet_a", "objectnet"]


def test_the_held_out_share_is_of_every_class_and_trains_nothing(root):
    data = data_of(root)
    train, held_out = (data.splits[name].load() for name in ("train", "held_out"))
    assert np.bincount(train.targets).tolist() == [6, 6, 6] and np.bincount(held_out.targets).tolist() == [2, 2, 2]
    assert not set(train.ids) & set(held_out.ids) and len(set(train.ids) | set(held_out.ids)) == 24
    assert data_of(root).splits["held_out"].load().ids == held_out.ids


def test_numbers_are_places_among_the_sorted_ids_and_untrained_classes_are_left_out(root, caplog):
    with caplog.at_level(logging.INFO):
        split = data_of(root).splits["imagenet_v2"]
    found = {name.split("/")[0]: CLASSES[label] for name, label in labels(split.load()).items()}
    assert found == {"3": CLASSES[0], "10": CLASSES[1], "500": CLASSES[2]} and split.over is None
    assert "imagenet_v2: 1 of 4 class folders are not trained classes and are left out" in caplog.text


def test_a_part_of_the_classes_is_scored_over_that_part(root):
    data = data_of(root)
    r, a = data.splits["imagenet_r"], data.splits["imagenet_a"]
    assert r.over.names == (CLASSES[0], CLASSES[2]) and r.over.groups == ((0,), (2,))
    assert labels(r.load()) == {
        f"{WORDNET[3]}/art_0.jpg": 0, f"{WORDNET[500]}/art_0.jpg": 1,
    }  # fmt: skip
    assert a.over.groups == ((1,), (2,)) and data.classes_of("imagenet_a") == CLASSES[1:]
    assert data.caveats == ("scored over their own classes, of the 3 trained: imagenet_r 2, imagenet_a 2, objectnet 2",)


def test_objectnet_by_its_own_mappings_and_without_its_border(root):
    split = data_of(root).splits["objectnet"]
    assert split.over.names == ("Alarm clock", "Chair") and split.over.groups == ((0, 1), (2,))
    pictures = split.load()
    assert labels(pictures) == {
        "alarm_clock/0.png": 0, "alarm_clock/1.png": 0, "chair/0.png": 1, "chair/1.png": 1,
    }  # fmt: skip
    pixels = np.asarray(pictures[2][0])
    assert pixels.shape == (32, 32, 3) and (pixels[..., 1] == 255).all()  # red on the border alone


def test_everything_that_is_missing_is_in_one_message(copied):
    for name in ("val", "objectnet-1.0", "imagenet-a"):
        shutil.rmtree(copied / name)
    with pytest.raises(DigrapError) as caught:
        data_of(copied)
    text = str(caught.value)
    assert "val/ (for val): ImageNet 2012, from https://image-net.org/download" in text
    assert "objectnet-1.0/images/ (for objectnet): https://objectnet.dev" in text and "imagenet_r" not in text
    remedy = "'~dataset.splits.imagenet_a' '~dataset.splits.objectnet'"
    assert text.endswith(f"To run without the missing test sets: {remedy}")
    make = copied / "val" / WORDNET[3]
    shutil.copytree(copied / "train" / WORDNET[3], make)
    words = remedy.replace("'", "").split()
    assert "imagenet_a" not in data_of(copied, *words).splits


def test_numbers_need_all_thousand_ids(copied):
    (copied / "LOC_synset_mapping.txt").unlink()
    with pytest.raises(
        DigrapError, match=r"1,000 sorted WordNet ids, but only 3 are known; put LOC_synset_mapping.txt"
    ):
        data_of(copied)
    data = data_of(copied, "~dataset.splits.imagenet_v2", "~dataset.splits.objectnet")
    assert data.classes == tuple(WORDNET[place] for place in TRAINED)


def test_what_does_not_fit_is_named(copied):
    (copied / "objectnet-1.0" / "mappings" / "objectnet_to_imagenet_1k.json").write_text('{"Chair": "no such thing"}')
    with pytest.raises(DigrapError, match="mappings are missing or do not fit together .KeyError.'no such thing'"):
        data_of(copied)
    for path in (copied / "val").glob("*/*"):
        path.rename(copied / "val" / path.name)
    shutil.rmtree(copied / "val" / WORDNET[3]), shutil.rmtree(copied / "val" / WORDNET[10])
    (copied / "val" / WORDNET[500]).rename(copied / "val" / "pictures")
    with pytest.raises(DigrapError, match="split val: no folder in .*val is a trained class .folders there: pictures"):
        data_of(copied)
    with pytest.raises(DigrapError, match="dataset.splits.val=.*classes .one of wordnet, numbers, objectnet"):
        data_of(copied, "dataset.splits.val.classes=words")
    with pytest.raises(DigrapError, match="dataset.holdout=1.0: held_out are held out .*dataset.holdout=0.1"):
        data_of(copied, "dataset.holdout=1.0", "dataset.splits.val.folder=sketch", "~dataset.splits.objectnet")


TINY = [
    "backbone=timm", "backbone.model=test_resnet", "backbone.pretrained=false", "backbone.image_size=32",
    "trainer.epochs=1", "trainer.batch_size=6", "trainer.micro_batch=6", "trainer.workers=0", "trainer.threads=1",
    "device=cpu", "optim=digrap",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "0123456789"
    run(compose(options(root, *TINY)), folder)
    return folder


def test_a_run_scores_every_set_over_its_classes(trained):
    result = json.loads((trained / "results.json").read_text())
    counts = {name: score["n"] for name, score in result["scores"].items()}
    assert counts == {
        "held_out": 6, "val": 3, "imagenet_v2": 3, "imagenet_r": 2, "imagenet_sketch": 3, "imagenet_a": 2,
        "objectnet": 4,
    }  # fmt: skip
    assert result["caveats"] == [
        "scored over their own classes, of the 3 trained: imagenet_r 2, imagenet_a 2, objectnet 2"
    ]
    bundle = read_bundle(trained / "predictions.npz", trained.parent)
    assert set(bundle.answers("imagenet_v2").tolist()) <= {0, 1, 2}
    assert set(bundle.answers("imagenet_a").tolist()) <= {0, 1}


def test_the_page_names_the_classes_of_the_split(trained):
    run, reader = load_run(trained), Pictures()
    assert reader.answer(run, "objectnet", 0) in ("Alarm clock", "Chair")
    assert [example.truth for example in reader.examples(run, "objectnet", [0, 3])] == ["Alarm clock", "Chair"]
    assert [example.truth for example in reader.examples(run, "imagenet_a", [0, 1])] == list(CLASSES[1:])


def test_the_run_on_other_copies_of_the_sets(trained, root, tmp_path):
    """evaluate.py: the test sets that there are, with the run's classes; and one of them as a plain folder."""
    own = json.loads((trained / "results.json").read_text())["scores"]
    shutil.copytree(root / "imagenet-r", tmp_path / "imagenet-r")
    shutil.copytree(root / "objectnet-1.0", tmp_path / "objectnet-1.0")
    (tmp_path / "LOC_synset_mapping.txt").write_bytes((root / "LOC_synset_mapping.txt").read_bytes())
    found = evaluate(f"run={trained}", "dataset=imagenet_shifts", f"dataset.root={tmp_path}")["scores"]
    assert list(found) == ["imagenet_r", "objectnet"]
    assert {name: score["accuracy"] for name, score in found.items()} == {name: own[name]["accuracy"] for name in found}
    assert list(found["objectnet"]["per_class"]) == ["Alarm clock", "Chair"]
    shutil.rmtree(tmp_path / "imagenet-r" / WORDNET[8])
    folder = evaluate(f"run={trained}", f"dataset.root={tmp_path / 'imagenet-r'}")
    assert folder["scores"]["test"]["accuracy"] == own["imagenet_r"]["accuracy"]
    with pytest.raises(
        DigrapError, match="(?s)missing under dataset.root=.*imagenet-r/ .for imagenet_r.*forbids training on it$"
    ):
        evaluate(f"run={trained}", "dataset=imagenet_shifts", f"dataset.root={tmp_path / 'imagenet-r'}")


def test_a_model_of_other_classes_is_refused(root):
    with pytest.raises(DigrapError, match="the classes are not named by WordNet ids"):
        build(root, compose(options(root)).dataset.splits, 0.25, known=("apple", "tree"))
