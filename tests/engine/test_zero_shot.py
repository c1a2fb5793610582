"""CLIP's class on own folders: zero-shot by prompts of the folders' names, and what starts from there."""

import json
import shutil

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip import pretrained
from PIL import Image
from torch import nn

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine.run import run
from tests.data.make_shifts import WORDNET, draw, make_imagenet
from tests.engine.test_other_data import evaluate
from tests.models.test_open_clip import TINY
from tests.models.tiny_clip import make_known

CLASSES = ("alarm_clock", "sea-horse", "tree")


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A tiny model of open_clip's with random weights under OpenAI's tag; its overrides."""
    make_known(TINY, tmp_path / "configs", monkeypatch)
    torch.manual_seed(1)
    model = open_clip.create_model("tiny-quickgelu")
    nn.init.constant_(model.logit_scale, np.log(100))
    nn.init.normal_(model.token_embedding.weight, std=1.0)  # words matter beside positions
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny-quickgelu", {"openai": {"file": str(path), "quick_gelu": True}})
    return ["backbone=clip_vit_b16", "backbone.model=tiny-quickgelu", f"backbone.weights={path}", "device=cpu"]


@pytest.fixture
def pictures(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 3), ("test_sketch", 2)):
        for place, name in enumerate(CLASSES):
            for number in range(count):
                draw(tmp_path / "own" / split / name / f"{number}.png", 31 * number + place)
    return tmp_path / "own"


def by_open_clip(weights, folder, words):
    """Accuracy in percent of open_clip's own zero-shot classifier on a folder of class folders."""
    model, _, prepare = open_clip.create_model_and_transforms("tiny-quickgelu", pretrained=str(weights))
    tokenizer = open_clip.get_tokenizer("tiny-quickgelu")
    head = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, words, open_clip.OPENAI_IMAGENET_TEMPLATES)
    right = []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for file in sorted((folder / name).iterdir()):
            with torch.no_grad():
                features = model.encode_image(prepare(Image.open(file).convert("RGB"))[None], normalize=True)
            right.append((features @ head).argmax().item() == label)
    return 100 * sum(right) / len(right)


FEW = ["trainer.epochs=1", "trainer.batch_size=6", "trainer.micro_batch=6", "trainer.workers=0", "trainer.threads=1"]


def scores_of(folder):
    return json.loads((folder / "results.json").read_text())["scores"]


def test_zero_shot_on_own_folders_is_open_clips(clip, pictures, tmp_path):
    words = ["alarm clock", "sea-horse", "tree"]
    weights = tmp_path / "tiny.safetensors"
    run(compose(["dataset=folder", f"dataset.root={pictures}", "dataset.near_ood=[sketch]", "optim=zero_shot", *clip,
                 "trainer.workers=0"]), tmp_path / "zero")  # fmt: skip
    found = scores_of(tmp_path / "zero")
    for split, folder in (("val", "val"), ("test", "test"), ("sketch", "test_sketch")):
        assert found[split]["accuracy"] == pytest.approx(by_open_clip(weights, pictures / folder, words))


def test_the_head_is_kept_for_the_next_run(clip, pictures, tmp_path, monkeypatch):
    words = [f"dataset.root={pictures}", *clip[:3], "trainer.workers=0", f"data_root={tmp_path / 'data'}"]
    first = evaluate(*words, f"out={tmp_path / 'first.json'}")
    (file,) = (tmp_path / "data" / "zero_shot").iterdir()
    monkeypatch.setattr(open_clip, "build_zero_shot_classifier", lambda *_: pytest.fail("the head was computed again"))
    assert evaluate(*words)["scores"] == first["scores"]
    monkeypatch.undo()


def test_a_folder_of_classes_alone_needs_no_training_pictures(clip, pictures, tmp_path):
    names = tmp_path / "names.yaml"
    names.write_text("alarm_clock: digital clock\nsea-horse: a fish\ntree: oak\n")
    own = [f"dataset.root={pictures / 'test'}", *clip[:3], "trainer.workers=0"]
    plain = evaluate(*own)["scores"]["test"]
    assert plain["accuracy"] == pytest.approx(
        by_open_clip(tmp_path / "tiny.safetensors", pictures / "test", ["alarm clock", "sea-horse", "tree"])
    )
    other = evaluate(*own, f"dataset.names={names}")["scores"]["test"]
    assert list(other["per_class"]) == ["digital clock", "a fish", "oak"]
    assert other["accuracy"] == pytest.approx(
        by_open_clip(tmp_path / "tiny.safetensors", pictures / "test", ["digital clock", "a fish", "oak"])
    )


def test_fine_tuning_and_wise_ft_start_from_the_zero_shot_head(clip, pictures, tmp_path):
    words = ["dataset=folder", f"dataset.root={pictures}", *clip, *FEW]
    run(compose([*words, "optim=wise_ft", "optim.curve=[0.0]"]), tmp_path / "runs" / "wise")
    run(compose([*words, "optim=zero_shot"]), tmp_path / "runs" / "zero")
    variants = json.loads((tmp_path / "runs" / "wise" / "results.json").read_text())["variants"]
    (start,) = [scores for name, scores in variants.items() if float(name.rpartition("=")[2]) == 0]
    zero = scores_of(tmp_path / "runs" / "zero")
    assert {name: score["accuracy"] for name, score in start.items()} == {
        name: score["accuracy"] for name, score in zero.items()
    }


def test_imagenets_shifts_zero_shot(clip, tmp_path):
    """Words of the classes come from the file of the release; without it the ids are refused as prompts."""
    root = make_imagenet(tmp_path / "imagenet")
    words = ["dataset=imagenet_shifts", f"dataset.root={root}", *clip[:3], "trainer.workers=0"]
    whole = evaluate(*words)["scores"]
    assert "held_out" not in whole and set(whole["imagenet_r"]["per_class"]) == {
        f"{WORDNET[3]} analog clock", f"{WORDNET[500]} barber chair",
    }  # fmt: skip
    for name in ("train", "val", "imagenet-a"):
        shutil.rmtree(root / name)
    some = evaluate(*words)["scores"]  # without ImageNet itself: over all classes that have words
    assert list(some) == ["imagenet_v2", "imagenet_r", "imagenet_sketch", "objectnet"]
    assert some["imagenet_v2"]["n"] == 4 and some["objectnet"]["n"] == 6
    bare = tmp_path / "ids"
    shutil.copytree(root / "imagenet-r", bare)
    with pytest.raises(DigrapError, match="class n.*: a zero-shot prompt needs words .*dataset.names=FILE"):
        evaluate(f"dataset.root={bare}", *clip[:3])
    (bare / "README.txt").unlink()
    named = evaluate(f"dataset.root={bare}", *clip[:3], f"dataset.names={root / 'LOC_synset_mapping.txt'}")
    assert named["scores"]["test"]["accuracy"] == some["imagenet_r"]["accuracy"]
