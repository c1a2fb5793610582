"""Checkpoints of other optimizers and of older versions: gaps are filled from the optimizer's own groups and state."""

import copy
import pickle

import pytest
import torch
from torch.nn import Parameter

from digrap.optim import FTP, L2SP, DiGraP
from tests.optim.infos import EVERY
from tests.optim.steps import advance, shapes

OWN = {"DiGraP": {"mu": 5.0}, "L2SP": {"lam": 0.7}, "MARSSP": {"lam": 0.7}, "SPD": {"strength": 0.1}, "FTP": {"k": 0.5}}


def groups_of(params):
    """Four parameters in four groups, each with another anchor."""
    ways = ({"anchor": "init"}, {"anchor": "none"}, {"anchor": "zero"}, {"anchor": [params[3].detach() + 1]})
    return [{"params": [param], **way} for param, way in zip(params, ways, strict=True)]


def anchors(optimizer):
    return [optimizer.state[group["params"][0]].get("anchor") for group in optimizer.param_groups]


def options(optimizer, *left_out):
    left_out = {"params", *left_out}
    return [{key: value for key, value in group.items() if key not in left_out} for group in optimizer.param_groups]


PLAIN = {
    "AdamW": (torch.optim.AdamW, {}, {"base": "adamw"}),
    "Adam": (torch.optim.Adam, {}, {"base": "adamw"}),
    "AdamW, fused": (torch.optim.AdamW, {"fused": True}, {"base": "adamw"}),
    "SGD": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, {"base": "sgd", "momentum": 0.9, "nesterov": True}),
    "plain SGD": (torch.optim.SGD, {}, {"base": "sgd"}),
    "SGD into AdamW": (torch.optim.SGD, {"momentum": 0.9}, {"base": "adamw"}),
    "AdamW into SGD": (torch.optim.AdamW, {}, {"base": "sgd", "momentum": 0.9}),
}


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize(("plain", "plain_options", "base"), PLAIN.values(), ids=PLAIN)
def test_own_options_and_anchors_stay(info, plain, plain_options, base):
    """Anchors, per-group options and the implementation are the optimizer's, lr and moments the checkpoint's."""
    params = shapes()
    optimizer = info.optim_cls(groups_of(params), **base, **OWN[info.name], foreach=False)
    held, before = copy.deepcopy(anchors(optimizer)), options(optimizer, "lr", "weight_decay")
    other = plain([{"params": [param]} for param in params], lr=0.003, **plain_options)
    advance(other, params, range(3))
    optimizer.load_state_dict(other.state_dict())
    assert [
        {key: group[key] for key in was} for group, was in zip(optimizer.param_groups, before, strict=True)
    ] == before
    assert {group["lr"] for group in optimizer.param_groups} == {0.003}
    torch.testing.assert_close(anchors(optimizer), held, rtol=0, atol=0)
    state = optimizer.state[params[0]]
    if "Adam" in plain.__name__ and base["base"] == "adamw":
        assert float(state["step"]) == 3
        assert torch.equal(state["exp_avg"], other.state[params[0]]["exp_avg"])
    if base["base"] == "sgd":
        assert "exp_avg" not in state
        assert "betas" not in optimizer.param_groups[0]
    else:
        assert "momentum_buffer" not in state
        assert "momentum" not in optimizer.param_groups[0]
    advance(optimizer, params, range(3, 6))
    assert all(torch.isfinite(param).all() for param in params)


@pytest.mark.parametrize("info", EVERY)
def test_a_replaced_state_goes_on_from_its_anchors(info):
    """An optimizer that has taken steps of its own keeps its anchors when AdamW's moments replace its state."""
    params = shapes()
    held = [param.detach().clone() for param in params]
    optimizer = info.optim_cls(params)
    advance(optimizer, params, range(3))
    other = torch.optim.AdamW(params)
    advance(other, params, range(3))
    optimizer.load_state_dict(other.state_dict())
    assert all(torch.equal(optimizer.state[p]["anchor"], value) for p, value in zip(params, held, strict=True))
    if info.optim_cls is DiGraP:  # nothing else of the steps before is left
        assert not optimizer.state[params[0]]["delta"].any()


@pytest.mark.parametrize(
    ("plain", "given", "message"),
    [
        (torch.optim.AdamW, {"maximize": True}, "saved with maximize=True, which L2SP does not support"),
        (torch.optim.AdamW, {"amsgrad": True}, "amsgrad=True"),
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}, "dampening=0.5"),
    ],
)
def test_options_that_change_the_step_are_refused(plain, given, message):
    params = shapes()
    optimizer = L2SP(params)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(plain(params, **given).state_dict())
    advance(optimizer, params, range(2))  # as if nothing had been loaded


def test_another_rules_options_are_not_taken():
    """L2-SP's lam is no λ of DiGraP's; its moments and anchors are as good."""
    params = shapes()
    other = L2SP(params, lam=0.3, lr=0.02)
    held = [param.detach().clone() for param in params]
    advance(other, params, range(3))
    optimizer = DiGraP(params, mu=2.0, foreach=False)
    optimizer.load_state_dict(copy.deepcopy(other.state_dict()))
    group = optimizer.param_groups[0]
    assert [group[key] for key in ("lam", "mu", "foreach", "lr")] == [0.0, 2.0, False, 0.02]
    assert all(torch.equal(optimizer.state[p]["anchor"], value) for p, value in zip(params, held, strict=True))
    assert float(optimizer.state[params[0]]["step"]) == 3


def test_adamw_over_the_same_groups():
    """torch's AdamW keeps our options in its groups and in its state dict; lists of anchors must not come back."""
    params = shapes()
    given = [param.detach() + 1 for param in params]
    other = torch.optim.AdamW([{"params": params, "anchor": given, "mu": 9.0}])
    advance(other, params, range(2))
    optimizer = DiGraP([{"params": params, "anchor": given}])
    optimizer.load_state_dict(other.state_dict())
    assert optimizer.param_groups[0]["anchor"] == "given"
    assert optimizer.param_groups[0]["mu"] == 0.1
    assert torch.equal(optimizer.state[params[0]]["anchor"], given[0])
    advance(optimizer, params, range(2, 4))


def test_another_number_of_groups_is_torchs_own_error():
    params = shapes()
    state = torch.optim.AdamW(params).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        L2SP([{"params": params[:1]}, {"params": params[1:]}]).load_state_dict(state)
    with pytest.raises(ValueError, match="doesn't match the size"):
        L2SP(params[:2]).load_state_dict(state)


def old(optimizer):
    """Take away what older versions did not have, and give groups the options of both bases, as they had."""
    for options in (optimizer.defaults, *optimizer.param_groups):
        for key in ("foreach", "fused", "capturable"):
            del options[key]
        options |= {"betas": (0.7, 0.9), "eps": 1e-6, "momentum": 0.8, "nesterov": False} | options
    return optimizer


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("base", ["adamw", "sgd"])
def test_state_dicts_and_pickles_of_older_versions(info, base):
    params = shapes()
    own = {"momentum": 0.8} if base == "sgd" else {"betas": (0.7, 0.9), "eps": 1e-6}
    optimizer = info.optim_cls(params, base=base, **own)
    advance(optimizer, params, range(3))
    whole, others = copy.deepcopy((optimizer, params))
    old(optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    fresh = [Parameter(param.detach().clone()) for param in params]
    loaded = info.optim_cls(fresh, base=base, **({"momentum": 0.8} if base == "sgd" else {}), foreach=False)
    loaded.load_state_dict(saved)
    assert loaded.param_groups[0]["foreach"] is False
    assert loaded.param_groups[0].keys() == whole.param_groups[0].keys()
    state = optimizer.__getstate__()
    del state["of_base"]
    unpickled = info.optim_cls.__new__(info.optim_cls)
    unpickled.__setstate__(pickle.loads(pickle.dumps(state)))
    assert unpickled.defaults.keys() - {"differentiable"} == whole.defaults.keys() - {"differentiable"}
    assert unpickled.param_groups[0].keys() == whole.param_groups[0].keys()
    again = unpickled.param_groups[0]["params"]
    for one, values in ((whole, others), (loaded, fresh), (unpickled, again)):
        advance(one, values, range(3, 6))
    torch.testing.assert_close(again, others, rtol=0, atol=0)
    torch.testing.assert_close(fresh, others)  # one tensor at a time
    unpickled.add_param_group({"params": [Parameter(torch.ones(2))]})  # with the constructor's options
    first, added = options(unpickled, "differentiable")
    assert added == first


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("number", [3, 3.0, torch.tensor(3)], ids=["int", "float", "integer tensor"])
def test_numbers_in_place_of_tensors(info, number):
    """Older torch and other libraries save `step` as a number; so may JSON-like formats with the rule's own."""
    params = shapes()
    optimizer = info.optim_cls(params)
    advance(optimizer, params, range(3))
    others = [Parameter(param.detach().clone()) for param in params]
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state["step"] = number
        state.update({key: float(state[key]) for key in optimizer.scalars if key in state})
    loaded = info.optim_cls(others)
    loaded.load_state_dict(saved)
    assert loaded.state[others[0]]["step"].dtype == torch.float32
    advance(optimizer, params, range(3, 6))
    advance(loaded, others, range(3, 6))
    torch.testing.assert_close(params, others, rtol=0, atol=0)


@pytest.mark.parametrize("number", [3, 3.0])
def test_numbers_in_a_pickled_optimizer(number):
    params = shapes()
    optimizer = DiGraP(params)
    advance(optimizer, params, range(3))
    restored = pickle.loads(pickle.dumps(optimizer))
    restored.state[restored.param_groups[0]["params"][0]]["step"] = number
    restored.__setstate__({})
    assert torch.is_tensor(restored.state[restored.param_groups[0]["params"][0]]["step"])


def test_a_head_without_anchor_stays_free_after_adamw():
    """The kind as it was found: AdamW's checkpoint made an unanchored head anchored, here by FTP, which froze it."""
    body, head = Parameter(torch.ones(3)), Parameter(torch.ones(3))
    other = torch.optim.AdamW([{"params": [body]}, {"params": [head]}])
    advance(other, [body, head], range(1))
    optimizer = FTP([{"params": [body]}, {"params": [head], "anchor": "none"}], lr=0.1)
    optimizer.load_state_dict(other.state_dict())
    before = head.detach().clone()
    advance(optimizer, [body, head], range(1, 2))
    assert not torch.allclose(head, before, atol=1e-5)
