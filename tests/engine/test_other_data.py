"""A trained classifier on data that it was not trained for: classes agree by name."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from PIL import Image

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS
from digrap.engine.other_data import SomeClasses, columns
from digrap.engine.rescore import rescore
from digrap.engine.run import run
from digrap.runs.predictions import read_bundle
from tests.synthetic_runs import script

CLASSES = ("apple", "big tree", "sea-horse")


def draw(root, split, classes, count=2, seed=0):
    random = np.random.default_rng(seed)
    for place, name in enumerate(classes):
        (root / split / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            pixels[:, :, place % 3] = 255
            Image.fromarray(pixels).save(root / split / name / f"{number}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on three classes, and its data."""
    root = tmp_path_factory.mktemp("own")
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        draw(root / "data", split, CLASSES, count)
    cfg = compose([
        "dataset=folder", f"dataset.root={root / 'data'}", "backbone=timm", "backbone.model=test_resnet",
        "backbone.pretrained=false", "backbone.image_size=32", "optim=vanilla", "trainer.epochs=1",
        "trainer.batch_size=6", "trainer.micro_batch=6", "trainer.workers=0", "trainer.threads=1", "device=cpu",
    ])  # fmt: skip
    run(cfg, root / "outputs" / "folder" / "0123456789")
    return root / "outputs" / "folder" / "0123456789"


def evaluate(*overrides, other_data=True):
    """What `python evaluate.py dataset=folder <overrides>` scores."""
    words = [*map(str, overrides), "device=cpu"]
    if not any(word.startswith("dataset=") for word in words):
        words.append("dataset=folder")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = hydra_compose("evaluate", overrides=words)
    return rescore(cfg, other_data)


def test_its_own_test_data_give_its_own_score(trained, capsys):
    own = json.loads((trained / "results.json").read_text())["scores"]["test"]["accuracy"]
    found = evaluate(f"run={trained}", f"dataset.root={trained.parents[2] / 'data'}", "split=test")
    assert found["scores"]["test"]["accuracy"] == own and "caveats" not in found and found["dataset"] == "folder"
    assert found["scores"]["test"]["kind"] == "id_test" and "top3" not in found["scores"]["test"]
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"{trained}: ") and " on folder, seed " in told[0]
    assert any("accuracy %" in line for line in told)


def test_a_folder_of_classes_alone_written_otherwise_and_in_another_order(trained, tmp_path):
    """The same pictures under other spellings of the names: the same answers, by name."""
    source, other = trained.parents[2] / "data" / "test", tmp_path / "other"
    names = {"apple": "Apple", "big tree": "big_tree", "sea-horse": "Aquatic"}
    for old, new in names.items():
        shutil.copytree(source / old, other / new)
    with pytest.raises(
        DigrapError, match="1 of the data's 3 classes are not among the 3 that the model knows: Aquatic;"
    ):
        evaluate(f"run={trained}", f"dataset.root={other}")
    (other / "Aquatic").rename(other / "A sea horse")
    (other / "A sea horse").rename(other / "Sea Horse")
    plain = evaluate(f"run={trained}", f"dataset.root={source}", f"bundle={tmp_path / 'a'}")
    spelt = evaluate(f"run={trained}", f"dataset.root={other}", f"bundle={tmp_path / 'b'}")
    assert plain["scores"]["test"]["accuracy"] == spelt["scores"]["test"]["accuracy"]
    assert plain["scores"]["test"]["kind"] == "other_data", "the run has no distribution there"


def test_a_subset_is_scored_over_that_subset(trained, tmp_path):
    data = trained.parents[2] / "data" / "test"
    some = tmp_path / "some"
    for name in ("sea-horse", "apple"):
        shutil.copytree(data / name, some / name)
    found = evaluate(f"run={trained}", f"dataset.root={some}", f"bundle={tmp_path / 'bundle'}")
    assert found["caveats"] == ["scored over the 2 classes of these data, of the 3 that the model knows"]
    bundle = read_bundle(tmp_path / "bundle" / "predictions.npz", tmp_path / "bundle")
    assert set(bundle.answers("test").tolist()) <= {0, 1}
    whole = evaluate(f"run={trained}", f"dataset.root={data}")
    assert found["scores"]["test"]["n"] == 6 and whole["scores"]["test"]["n"] == 9


def test_a_part_of_the_logits():
    module = SomeClasses(torch.nn.Identity(), [[2], [0]])
    assert module(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[3.0, 1.0]] and not module.state_dict()
    module = SomeClasses(torch.nn.Identity(), [[1], [0, 2, 3]])
    assert module(torch.tensor([[1.0, 5.0, -3.0, 2.0], [0.0, -1.0, 4.0, 2.0]])).tolist() == [[5.0, 2.0], [-1.0, 4.0]]
    assert columns(("big_tree", "APPLE"), CLASSES) == [1, 0]


def test_an_export_and_its_file_of_weights_need_no_data_of_the_run(trained, tmp_path, monkeypatch):
    data = trained.parents[2] / "data"
    out = tmp_path / "export"
    monkeypatch.setattr(sys, "argv", ["export.py", str(trained), f"out={out}"])
    script("export").main()
    moved = data.with_name("moved")
    data.rename(moved)
    try:
        expected = json.loads((trained / "results.json").read_text())["scores"]["test"]["accuracy"]
        for subject in (f"run={trained}", f"run={out}"):
            assert evaluate(subject, f"dataset.root={moved}", "split=test")["scores"]["test"]["accuracy"] == expected
        by_file = evaluate(
            f"weights={out / 'model.safetensors'}", f"dataset.root={moved / 'test'}", "backbone.model=test_resnet",
            "backbone.pretrained=false", "backbone.image_size=32", other_data=False,
        )  # fmt: skip
        assert by_file["scores"]["test"]["accuracy"] == expected
    finally:
        moved.rename(data)


def test_other_tasks_and_files_that_are_none(trained, tmp_path):
    with pytest.raises(
        DigrapError, match="dataset=minivqa has the task vqa, but .*/0123456789 was trained for classification"
    ):
        evaluate("dataset=minivqa", f"run={trained}")
    with pytest.raises(DigrapError, match="weights=.*none: there is no such file"):
        evaluate(f"weights={tmp_path / 'none'}", f"dataset.root={tmp_path}", other_data=False)
