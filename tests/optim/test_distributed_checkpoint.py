"""torch.distributed.checkpoint: its state dicts and its files, with frozen parameters and from torch's AdamW."""

import copy

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from digrap.optim import FTP, L2SP, DiGraP, param_groups
from tests.optim.infos import EVERY

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # one process is meant

LAYOUTS = [
    StateDictOptions(),
    StateDictOptions(full_state_dict=True),
    StateDictOptions(full_state_dict=True, cpu_offload=True),
    StateDictOptions(flatten_optimizer_state_dict=True),
]
NAMES = ["plain", "full", "full on the CPU", "flat"]


def make(seed=0, frozen=True):
    """A model with a frozen layer and a head without anchor."""
    torch.manual_seed(seed)
    model = nn.ModuleDict({"frozen": nn.Linear(3, 3), "body": nn.Linear(3, 3), "head": nn.Linear(3, 2)})
    model["frozen"].requires_grad_(not frozen)
    return model


def groups_of(model):
    """All parameters, the frozen ones too."""
    head = {"params": list(model["head"].named_parameters(prefix="head")), "anchor": "none"}
    return [{"params": [(n, p) for n, p in model.named_parameters() if not n.startswith("head")]}, head]


def advance(model, optimizer, steps):
    for step in steps:
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        hidden = model["body"](model["frozen"](inputs))
        (model["head"](hidden) - (-1) ** step).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def same(left, right):
    torch.testing.assert_close(left[0].state_dict(), right[0].state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(left[1].state_dict()["state"], right[1].state_dict()["state"], rtol=0, atol=0)


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
@pytest.mark.parametrize("seed", [0, 1], ids=["same", "other anchors"])
def test_resumes_bit_for_bit(info, layout, seed, tmp_path):
    """The skeleton that is loaded into comes from an optimizer without a step, over other weights."""
    model = make()
    optimizer = info.optim_cls(groups_of(model))
    advance(model, optimizer, range(3))
    dcp.save({"optimizer": get_optimizer_state_dict(model, optimizer, options=layout)}, checkpoint_id=tmp_path)
    resumed = make(seed)
    again = info.optim_cls(groups_of(resumed))
    state = {"optimizer": get_optimizer_state_dict(resumed, again, options=layout)}
    dcp.load(state, checkpoint_id=tmp_path)
    set_optimizer_state_dict(resumed, again, state["optimizer"], options=layout)
    resumed.load_state_dict(model.state_dict())
    for one in ((model, optimizer), (resumed, again)):
        advance(*one, range(3, 6))
    same((model, optimizer), (resumed, again))
    assert not set(resumed["frozen"].parameters()) & set(again.state)


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
def test_a_layer_that_was_unfrozen_resumes(layout, tmp_path):
    """The layer is frozen when the optimizer is made, in the first run as in the resumed one."""
    runs = []
    for seed in (0, 1):
        model = make(seed)
        optimizer = DiGraP(groups_of(model))
        model["frozen"].requires_grad_(True)
        runs.append((model, optimizer))
    (model, optimizer), (resumed, again) = runs
    advance(model, optimizer, range(3))
    dcp.save({"optimizer": get_optimizer_state_dict(model, optimizer, options=layout)}, checkpoint_id=tmp_path)
    state = {"optimizer": get_optimizer_state_dict(resumed, again, options=layout)}
    dcp.load(state, checkpoint_id=tmp_path)
    set_optimizer_state_dict(resumed, again, state["optimizer"], options=layout)
    resumed.load_state_dict(model.state_dict())
    for one in runs:
        advance(*one, range(3, 6))
    same(*runs)


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
@pytest.mark.parametrize("cls", [DiGraP, L2SP, FTP])
def test_a_state_dict_of_adamw_keeps_anchors_and_options(cls, layout):
    """The head stays without anchor, the body keeps the given one. In the other layouts than the plain one torch itself
    refuses state dicts with other keys than the optimizer's, also between its own AdamW and SGD."""
    model = make()
    given = {name: torch.zeros_like(param) for name, param in model.named_parameters()}
    groups = param_groups(model, anchors=given, unanchored=["head"])
    plain = torch.optim.AdamW([{"params": group["params"]} for group in groups], lr=0.004)
    optimizer = cls(groups, foreach=False)
    advance(model, plain, range(3))
    saved = get_optimizer_state_dict(model, plain, options=layout)
    if layout.flatten_optimizer_state_dict or layout.full_state_dict:
        with pytest.raises(KeyError):
            set_optimizer_state_dict(model, optimizer, saved, options=layout)
        return
    set_optimizer_state_dict(model, optimizer, saved, options=layout)
    assert [group["anchor"] for group in optimizer.param_groups] == ["given", "none"]
    assert [group["foreach"] for group in optimizer.param_groups] == [False, False]
    body, head = model["body"].weight, model["head"].weight
    assert not optimizer.state[body]["anchor"].any()
    assert "anchor" not in optimizer.state[head]
    assert torch.equal(optimizer.state[body]["exp_avg"], plain.state[body]["exp_avg"])
    assert float(optimizer.state[body]["step"]) == 3
    advance(model, optimizer, range(3, 5))


def test_a_file_of_adamw_keeps_anchors(tmp_path):
    """dcp.load refuses what is missing in the file, unless allow_partial_load leaves it as it is."""
    model = make()
    plain = torch.optim.AdamW([param for param in model.parameters() if param.requires_grad])
    advance(model, plain, range(3))
    dcp.save({"optimizer": get_optimizer_state_dict(model, plain)}, checkpoint_id=tmp_path)
    fresh = make()
    optimizer = DiGraP([param for param in fresh.parameters() if param.requires_grad], mu=3.0)
    state = {"optimizer": get_optimizer_state_dict(fresh, optimizer)}
    held = {param: state["anchor"].clone() for param, state in optimizer.state.items()}
    with pytest.raises(CheckpointException, match="Missing key"):
        dcp.load(copy.deepcopy(state), checkpoint_id=tmp_path)
    dcp.load(state, checkpoint_id=tmp_path, planner=dcp.DefaultLoadPlanner(allow_partial_load=True))
    set_optimizer_state_dict(fresh, optimizer, state["optimizer"])
    assert optimizer.param_groups[0]["mu"] == 3.0
    assert all(torch.equal(optimizer.state[param]["anchor"], anchor) for param, anchor in held.items())
    weight = fresh["body"].weight
    assert torch.equal(optimizer.state[weight]["exp_avg"], plain.state[model["body"].weight]["exp_avg"])
