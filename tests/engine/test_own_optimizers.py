"""Any torch optimizer as a method: from a yaml, from a file, under the check; each gets the arguments it takes."""

import json
import logging
import shutil

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from digrap.config import compose as composing
from digrap.config.changes import changes
from digrap.config.compose import compose
from digrap.config.schema import typed
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS, REPO
from digrap.engine import run as engine
from digrap.engine.build import build_method
from digrap.optim.arguments import accepted, arguments_for
from tests.conftest import SMALL

LION = """
defaults: [_base]
name: lion
optimizer:
  _target_: timm.optim.Lion
"""


@pytest.fixture
def of_yaml(tmp_path, small_data):
    """A yaml of one's own for the group optim → the config of a small run of it."""

    def make(text, *overrides):
        (tmp_path / "own" / "optim").mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / "optim" / "lion.yaml").write_text(text)
        composing.register_resolvers()
        words = [*SMALL, f"data_root={small_data}", "optim=lion", f"hydra.searchpath=[file://{tmp_path / 'own'}]"]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return typed(hydra_compose("train", overrides=[*words, *overrides]))

    return make


def optimizer_of(cfg):
    return build_method(cfg).optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])


def test_timms_lion_from_a_yaml_trains(of_yaml, tmp_path, caplog):
    cfg = of_yaml(LION, "trainer.epochs=1", "trainer.base.lr=1e-4")
    with caplog.at_level(logging.INFO):
        engine.run(cfg, tmp_path / "run")
    assert "optim=lion: Lion takes no anchor, base, eps, momentum, nesterov: left out" in caplog.text
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert results["method"] == "lion" and facts["optimizer"]["name"] == "Lion"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", {"lr": 1e-3, "betas": (0.9, 0.999), "caution": False}),
        ("  caution: true\n  betas: [0.9, 0.99]\n", {"betas": (0.9, 0.99), "caution": True}),
    ],
)
def test_values_of_the_yaml_come_before_the_trainers(of_yaml, more, expected):
    defaults = optimizer_of(of_yaml(LION + more, "trainer.base.lr=1e-3")).defaults
    assert {key: defaults[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "  cautious: true\n", "optim=lion: optim.optimizer.cautious: Lion takes no such argument; leave it out; "
                                   "nearest: caution"),
        ("", "  eps: 1e-3\n", "optim.optimizer.eps: Lion takes no such argument; leave it out"),
        ("timm.optim.Lion", "torch.optim.Adafactor", r"Adafactor\(.*eps=1e-08.*\) raises TypeError: .*; give a value "
                                                     "that it takes under `optimizer:` in its yaml"),
        ("timm.optim.Lion", "timm.optim.Adan", r"Adan\(.*betas=.*\) raises IndexError"),
        ("timm.optim.Lion", "torch.optim.LBFGS", "a step of LBFGS needs a closure"),
        ("timm.optim.Lion", "timm.optim.Lino", "optim=lion: Error loading 'timm.optim.Lino'"),
        ("  _target_: timm.optim.Lion\n", "  caution: true\n", "optim=lion: its yaml lacks `_target_` "),
        ("name: lion\n", "", "optim: its yaml has no name; add `name: …`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_message(of_yaml, old, new, words):
    with pytest.raises(DigrapError, match=words) as caught:
        build_method(of_yaml(LION.replace(old, new) if old else LION + new))
    assert "\n" not in str(caught.value)


def test_the_yaml_of_the_docs(of_yaml):
    text = (REPO / "docs" / "methods.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert optimizer_of(of_yaml(text, "optim.beta=0.95")).defaults["betas"] == (0.9, 0.95)


def test_own_values_of_a_list_with_a_reference_are_those_it_follows(tmp_path, monkeypatch):
    text = (REPO / "docs" / "methods.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    configs = shutil.copytree(CONFIGS, tmp_path / "configs")
    (configs / "optim" / "lion.yaml").write_text(text)
    monkeypatch.setattr(composing, "CONFIGS", configs)
    own = changes(OmegaConf.to_container(compose(["optim=lion", "optim.beta=0.95"])))
    assert own == {"optim.beta": 0.95}


def test_adafactor_with_a_value_of_its_own(of_yaml):
    text = LION.replace("timm.optim.Lion", "torch.optim.Adafactor") + "  eps: [null, 0.001]\n"
    assert optimizer_of(of_yaml(text)).defaults["eps"] == [None, 0.001]


def test_what_a_class_from_a_file_does_not_take_is_said(small, tmp_path, caplog):
    file = tmp_path / "rule.py"
    file.write_text(
        "import torch\n\nclass Half(torch.optim.SGD):\n    def __init__(self, params, lr, keep=0.5):\n        "
        "super().__init__(params, lr=lr)\n"
    )
    with caplog.at_level(logging.INFO):
        assert build_method(small("optim=file", f"optim.file={file}", "+optim.options.keep=1")).name == "Half"
    assert "Half takes no anchor, base, betas, eps, momentum, nesterov, weight_decay: left out" in caplog.text


class Passing(torch.optim.AdamW):
    def __init__(self, params, pull=1.0, **options):
        super().__init__(params, **options)


def made_by(params, lr):
    return torch.optim.SGD(params, lr)


def test_one_rule_for_classes_functions_and_what_passes_arguments_on():
    common = {"lr": 0.1, "betas": [0.8, 0.9], "eps": 1e-7, "base": "adamw", "momentum": 0.5}
    assert {"pull", "lr", "betas", "amsgrad"} <= accepted(Passing) and "base" not in accepted(Passing)
    assert accepted(made_by) == {"lr"} and accepted(lambda params, **rest: None) is None
    assert arguments_for(Passing, common, {"pull": 2.0}, "x") == {
        "lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-7, "pull": 2.0,
    }  # fmt: skip
    assert arguments_for(made_by, common, {}, "x") == {"lr": 0.1}
    with pytest.raises(ValueError, match="x.pul: Passing takes no such argument; leave it out; nearest: pull"):
        arguments_for(Passing, common, {"pul": 2.0}, "x")


def test_the_projects_own_methods_keep_all_arguments():
    cfg = compose(["optim=digrap"])
    given = OmegaConf.to_container(cfg.optim.optimizer)
    assert set(build_method(cfg).optimizer.keywords) == set(given) - {"_partial_", "_target_"}
