"""Weights that are not there are said before any data is made for the run."""

import importlib.util

import pytest
from omegaconf import OmegaConf

from digrap.config.choices import choices
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS
from digrap.engine import run as engine


def made_for(backbone):
    """A dataset that makes its own data, for the backbone's task."""
    tasks = OmegaConf.load(CONFIGS / "backbone" / f"{backbone}.yaml").get("tasks", ["classification"])
    return {"classification": "minidomainnet", "vqa": "minivqa"}[tasks[0]]


def installed(backbone):
    """Whether the package that the backbone's model is from is here."""
    return "lavis" not in compose([f"backbone={backbone}"]).backbone._target_ or importlib.util.find_spec("lavis")


FROM_FILES = [
    name for name in choices("backbones") if "weights" in compose([f"backbone={name}"]).backbone and installed(name)
]


@pytest.mark.parametrize("backbone", FROM_FILES)
@pytest.mark.parametrize("method", ["vanilla", "lp_ft"])  # the second has an earlier run
def test_missing_weights_are_said_before_data_is_made(backbone, method, tmp_path):
    file, data = tmp_path / "not there.safetensors", tmp_path / "data"
    words = [f"dataset={made_for(backbone)}", f"backbone={backbone}", f"backbone.weights='{file}'", f"data_root={data}"]
    if compose(words).backbone.get("pretrained") is False:
        words.append("backbone.pretrained=true")
    cfg = compose([*words, f"optim={method}", "device=cpu"])
    with pytest.raises(DigrapError, match="not there.safetensors: there is no such file; "):
        engine.run(cfg, tmp_path / "runs" / "run")
    assert not data.exists()


def test_the_option_that_the_message_names_lets_the_run_begin(tmp_path, monkeypatch):
    words = ["dataset=minivqa", f"backbone.weights={tmp_path}/none.safetensors", "device=cpu"]
    monkeypatch.setattr(engine, "_run", lambda *_: 1.0)
    with pytest.raises(DigrapError, match="backbone.pretrained=false uses random ones"):
        engine.run(compose(words), tmp_path / "run")
    assert engine.run(compose([*words, "backbone.pretrained=false"]), tmp_path / "run") == 1.0


@pytest.mark.parametrize("backbone", FROM_FILES)
def test_a_file_that_random_weights_leave_unread_is_refused(backbone, tmp_path, monkeypatch):
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"0")
    monkeypatch.setattr(engine, "_run", lambda *_: 1.0)
    words = [f"dataset={made_for(backbone)}", f"backbone={backbone}", "backbone.pretrained=false", "device=cpu"]
    assert engine.run(compose(words), tmp_path / "run") == 1.0
    with pytest.raises(DigrapError, match="the file would be ignored; leave one of the two out"):
        engine.run(compose([*words, f"backbone.weights={file}"]), tmp_path / "run")
