"""DomainNet in the official layout through the engine: both real backbones with random weights, every method."""

import json

import pytest

from digrap.config.compose import compose
from digrap.engine import run as engine
from tests.data.make_domainnet import make
from tests.doors import call
from tests.engine.test_methods import METHODS

DOMAINS = {"real", "sketch", "painting", "infograph", "clipart", "quickdraw"}


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    """What makes a run on a DomainNet of 80 images take a second."""
    made = make(tmp_path_factory.mktemp("domainnet"), counts={"train": 4, "val": 2, "test": 2})
    return [
        "dataset=domainnet", f"data_root={made.data_root}", f"dataset.lists={made.lists}", "backbone.pretrained=false",
        "trainer.epochs=1", "trainer.batch_size=20", "trainer.micro_batch=20", "trainer.workers=0",
        "trainer.precision=no", "trainer.threads=1", "device=cpu",
    ]  # fmt: skip


def scored(folder):
    result = json.loads((folder / "results.json").read_text())
    assert result["protocol"] == "original" and set(result["scores"]) == DOMAINS | {"real_val"}
    assert {name for name, score in result["scores"].items() if score["kind"] == "near_ood"} == DOMAINS - {"real"}
    return result


@pytest.mark.slow
def test_the_command_the_project_is_known_by(overrides, tmp_path):
    """CLIP ViT-B/16 by itself, at 32 px."""
    run = call("train.py", "optim=digrap", *overrides, "backbone.image_size=32", f"hydra.run.dir={tmp_path}")
    assert run.returncode == 0, run.stderr
    assert scored(tmp_path)["backbone"] == "clip_vit_b16"


def test_moco_resnet50(overrides, tmp_path):
    engine.run(compose([*overrides, "optim=digrap", "backbone=moco_resnet50", "backbone.image_size=32"]), tmp_path)
    assert scored(tmp_path)["backbone"] == "moco_resnet50"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"zero_shot", "file"}))
def test_every_method(overrides, tmp_path, name):
    """On a tiny model; zero_shot has nothing to say with a fresh head, and file needs one."""
    tiny = ["backbone=timm", "backbone.model=test_resnet", "backbone.image_size=32"]
    few = ["optim.max_iters=5"] if name == "tpgm_once" else []
    engine.run(compose([*overrides, *tiny, f"optim={name}", *few]), tmp_path / "run")
    assert scored(tmp_path / "run")["method"] == name
