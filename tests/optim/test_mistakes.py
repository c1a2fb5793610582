"""Mistakes that people make with optimizers end in one sentence that helps, not in a silent other training."""

import copy
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from digrap.optim import SPD, DiGraP, param_groups


def model():
    return nn.ModuleDict({"body": nn.Linear(3, 3), "head": nn.Linear(3, 2)})


@pytest.mark.parametrize(
    ("key", "meant"), [("omga", "omega"), ("weigth_decay", "weight_decay"), ("anchors", "anchor"), ("beta", "betas")]
)
def test_an_option_of_a_group_with_a_typo(key, meant):
    with pytest.raises(ValueError, match=f"a group has '{key}', which is not an option; did you mean '{meant}'"):
        DiGraP([{"params": list(model().parameters()), key: 1}])


def test_keys_that_frameworks_add_are_left_alone():
    keys = {"initial_lr": 1.0, "max_lr": 1.0, "min_lr": 0.0, "max_momentum": 0.9, "lr_scale": 1.0, "name": "body"}
    optimizer = DiGraP([{"params": list(model().parameters()), **keys}])
    assert keys.items() <= optimizer.param_groups[0].items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.9}, "momentum=0.9 has no effect with base='adamw'; it belongs to base='sgd'"),
        ({"base": "sgd", "betas": (0.5, 0.9)}, r"betas=\(0.5, 0.9\) has no effect with base='sgd'"),
        ({"omega": "learnt"}, "omega='learnt' is not a number; None learns ω"),
        ({"betas": 0.9}, "betas=0.9 is not a pair of numbers"),
        ({"anchor": False}, "anchor is a bool; give 'init', 'zero', 'none' or a list of tensors"),
    ],
)
def test_values(options, message):
    with pytest.raises(ValueError, match=message):
        DiGraP(model().parameters(), **options)


def test_defaults_of_the_other_base_may_be_given():
    """A config gives both; its lists are tuples elsewhere."""
    assert DiGraP(model().parameters(), base="sgd", betas=[0.9, 0.999]).param_groups[0]["base"] == "sgd"


def test_an_unknown_argument():
    with pytest.raises(TypeError, match="DiGraP has no argument 'omga'; did you mean 'omega'. it takes params, lr"):
        DiGraP(model().parameters(), omga=1)
    with pytest.raises(TypeError, match="SPD has no argument 'defaults'"):
        SPD(model().parameters(), defaults={"lr": 1})


def test_a_wrong_anchor_is_named():
    anchors = [torch.zeros(1), *map(torch.clone, list(model().parameters())[1:])]
    with pytest.raises(ValueError, match=r"anchor 0 has shape \(1,\) but its parameter body.weight has \(3, 3\)"):
        DiGraP(model().named_parameters(), anchor=anchors)


def test_names_behind_a_prefix_are_found():
    wrapped = nn.ModuleDict({"base_model": model()})
    with pytest.raises(ValueError, match="called 'head'; near: base_model.head$"):
        param_groups(wrapped, unanchored=["head"])
    with pytest.raises(ValueError, match="a Linear was given; give names of parameters or modules"):
        param_groups(wrapped, unanchored=[wrapped["base_model"]["head"]])


def test_adapters_without_peft_are_said():
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(nn.Sequential(nn.Linear(4, 4)), peft.LoraConfig(r=2, target_modules=["0"]))
    with pytest.warns(UserWarning, match="the model has peft adapters; peft=True gives each kind its anchor"):
        param_groups(adapted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        param_groups(adapted, peft=False)
        param_groups(adapted, peft=True)


STEP = """
import torch; from digrap.optim import DiGraP
p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.ones(3); o = DiGraP([p]); o.step(); print(o.implementation)
"""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo fatal error >&2; exit 1", "could not be built with {path}: fatal error"),
        (None, "CXX={path} is not a program, so no kernels are compiled"),
    ],
)
def test_a_compiler_that_does_not_work(tmp_path, monkeypatch, script, message):
    """$CXX is what the user has chosen: no other is taken in its place, and training goes on."""
    path = tmp_path / "cxx"
    if script:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("DIGRAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DIGRAP_NATIVE", raising=False)
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "blocked\n"), done.stderr
    assert message.format(path=path) in done.stderr


def made_and_changed(write, cls=DiGraP, **options):
    """The warnings of the first two steps of an optimizer whose model `write` changes before them."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    optimizer = cls(model.named_parameters(), **options)
    write(model, optimizer)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(2):
            for param in model.parameters():
                param.grad = torch.ones_like(param)
            optimizer.step()
    return [str(warning.message) for warning in found]


def load(model, _):
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})


def test_weights_loaded_after_the_optimizer_was_made_are_said_once():
    (said,) = made_and_changed(load)
    assert said.startswith("DiGraP: parameter 0.weight (and 3 more) was changed after the optimizer was created")
    assert said.endswith("load the weights first, then create the optimizer")


def resume(model, optimizer):
    saved = copy.deepcopy(optimizer.state_dict())
    load(model, optimizer)
    optimizer.load_state_dict(saved)


def rewrite(model, _):
    """As DistributedDataParallel does when it wraps the model."""
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})


@pytest.mark.parametrize(("write", "options"), [
    (rewrite, {}), (resume, {}), (load, {"anchor": "zero"}), (load, {"anchor": "none"}), (lambda *_: None, {}),
])  # fmt: skip
def test_nothing_is_said_where_the_anchors_are_meant(write, options):
    assert made_and_changed(write, **options) == []


def test_given_anchors_are_meant():
    model = torch.nn.Linear(3, 2)
    optimizer = DiGraP(model.parameters(), anchor=[torch.zeros(2, 3), torch.zeros(2)])
    load(model, optimizer)
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    with warnings.catch_warnings(action="error"):
        optimizer.step()
