"""Frozen, lazy, replaced and resized parameters: when state is made, and what is refused."""

import copy
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import Parameter

from digrap.optim import L2SP, DiGraP
from tests.optim.infos import EVERY
from tests.optim.steps import advance, shapes


def nbytes(optimizer):
    entries = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.numel() * value.element_size() for value in entries)


def half_frozen(seed=0):
    params = shapes(seed)
    for param in params[:2]:
        param.requires_grad_(False)
    return params


@pytest.mark.parametrize("info", EVERY)
def test_a_peft_model_costs_its_adapters_alone(info):
    """DiGraP(peft_model.parameters()): AdamW's moments, and at most two tensors and some numbers per trained one."""
    model = get_peft_model(nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 8)), LoraConfig(target_modules=["0"], r=2))
    trained = [param for param in model.parameters() if param.requires_grad]
    size = sum(param.numel() * param.element_size() for param in trained)
    optimizer = info.optim_cls(model.parameters(), anchor="zero")
    assert nbytes(optimizer) <= 3 * size + 64 * len(trained)
    advance(optimizer, trained, range(2))
    assert nbytes(optimizer) <= 3 * size + 64 * len(trained)
    assert len(optimizer.state_dict()["state"]) == len(trained)


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.complex64, torch.float8_e4m3fn])
def test_frozen_weights_may_be_of_any_dtype(info, dtype):
    """As the packed weights of QLoRA are."""
    packed = Parameter(torch.zeros(3, 2).to(dtype), requires_grad=False)
    params = shapes()
    optimizer = info.optim_cls([packed, *params])
    advance(optimizer, params, range(2))
    assert packed not in optimizer.state
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert packed not in optimizer.state


@pytest.mark.parametrize("info", EVERY)
def test_the_anchor_of_an_unfrozen_parameter_is_its_frozen_value(info):
    """Gradual unfreezing equals an optimizer over parameters that were never frozen."""
    params, others = half_frozen(), shapes()
    optimizer, reference = info.optim_cls(params), info.optim_cls(others)
    for step in range(6):
        for chosen, one in ((params, optimizer), (others, reference)):
            advance(one, chosen[2:] if step < 3 else chosen, range(step, step + 1))
            one.zero_grad()
        if step == 2:
            assert params[0] not in optimizer.state
            params[0].requires_grad_(True)
    torch.testing.assert_close(params, others, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state[params[0]], reference.state[others[0]], rtol=0, atol=0)


def test_a_parameter_that_was_written_to_while_frozen_is_warned_of():
    params = half_frozen()
    optimizer = L2SP([("body", params[0]), ("head", params[1])])
    with torch.no_grad():
        params[0].add_(1)
    with pytest.warns(UserWarning, match="parameter body was frozen when the optimizer was created and has changed"):
        advance(optimizer, params[:2], range(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advance(optimizer, params[:2], range(1, 2))  # once
        moved = half_frozen()[:2]
        optimizer = L2SP(moved)
        for param in moved:
            param.data = param.data.double()  # what module.to() does
        advance(optimizer, moved, range(1))


@pytest.mark.parametrize("info", EVERY)
def test_a_given_anchor_waits_for_the_first_gradient(info):
    params = half_frozen()
    given = [param.detach() + 1 for param in params]
    optimizer = info.optim_cls(params, anchor=given)
    assert optimizer.state[params[0]].keys() == {"anchor"}
    loaded = copy.deepcopy(params)
    resumed = info.optim_cls(loaded)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, values in ((optimizer, params), (resumed, loaded)):
        advance(one, values, range(2))
        assert all(torch.equal(one.state[p]["anchor"], value) for p, value in zip(values, given, strict=True))
    torch.testing.assert_close(params, loaded, rtol=0, atol=0)


@pytest.mark.parametrize("info", EVERY)
def test_a_state_dict_has_all_that_trains_by_now(info):
    params = half_frozen()
    optimizer = info.optim_cls(params)
    assert optimizer.state_dict()["state"].keys() == {2, 3}
    params[0].requires_grad_(True)
    assert optimizer.state_dict()["state"].keys() == {0, 2, 3}
    assert torch.equal(optimizer.state[params[0]]["anchor"], params[0])


@pytest.mark.parametrize("info", EVERY)
def test_a_saved_state_of_an_unfrozen_parameter_loads_into_a_frozen_one(info):
    """A run with gradual unfreezing resumes: the model is frozen again when the optimizer is made."""
    params = half_frozen()
    optimizer = info.optim_cls(params)
    advance(optimizer, params, range(3))
    held = optimizer.state[params[0]]["anchor"].clone()
    others = copy.deepcopy(params)
    resumed = info.optim_cls(others)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert torch.equal(resumed.state[others[0]]["anchor"], held)
    advance(optimizer, params, range(3, 5))
    advance(resumed, others, range(3, 5))
    torch.testing.assert_close(params, others, rtol=0, atol=0)


@pytest.mark.parametrize("info", EVERY)
def test_replaced_tensors_leave_nothing_behind(info):
    """A wrapper replaces the two that train of four: their state goes at the next step, and before a state dict."""
    params = half_frozen()
    optimizer = info.optim_cls(params)
    for value in (1.0, 2.0):
        optimizer.param_groups[0]["params"][2:] = fresh = [Parameter(torch.full_like(p, value)) for p in params[2:]]
        advance(optimizer, fresh, range(1))
        assert set(optimizer.state) == set(fresh)
    optimizer.param_groups[0]["params"][2:] = last = [Parameter(torch.ones_like(param)) for param in params[2:]]
    assert optimizer.state_dict()["state"].keys() == {2, 3}
    assert set(optimizer.state) == set(last)


@pytest.mark.parametrize("info", EVERY)
def test_given_anchors_that_a_wrapper_loses_are_refused(info):
    """The advised remedy, an optimizer made from the present parameters, is tried."""
    params = shapes()
    given = [param.detach() + 1 for param in params]
    optimizer = info.optim_cls([{"params": params, "anchor": given}])
    fresh = [Parameter(param.detach().clone()) for param in params]
    optimizer.param_groups[0]["params"] = fresh
    with pytest.raises(
        RuntimeError, match=r"the anchor given for parameter 0\.0 is lost, .*; create the optimizer after"
    ):
        advance(optimizer, fresh, range(1))
    with pytest.raises(RuntimeError, match="is lost"):
        optimizer.state_dict()
    remedy = info.optim_cls([{"params": fresh, "anchor": given}])
    advance(remedy, fresh, range(1))
    assert torch.equal(remedy.state[fresh[0]]["anchor"], given[0])


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("options", [{}, {"base": "sgd"}, {"base": "sgd", "momentum": 0.9, "anchor": "zero"}])
def test_a_resized_parameter_is_refused_by_name(info, options):
    model = nn.Linear(3, 2)
    optimizer = info.optim_cls(model.named_parameters(), **options)
    model.weight.data = torch.ones(2, 4)
    model.weight.grad = torch.ones(2, 4)
    with pytest.raises(RuntimeError, match=r"parameter weight has shape \(2, 4\), but its state .* has \(2, 3\)"):
        optimizer.step()
    remedy = info.optim_cls(model.named_parameters(), **options)
    remedy.step()


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_state_follows_a_model_that_is_cast(info, steps, dtype):
    """model.to(bfloat16) after the optimizer was made: AdamW has no state before its first step."""
    params = shapes()
    optimizer = info.optim_cls(params)
    advance(optimizer, params, range(steps))
    for param in params:
        param.data = param.data.to(dtype)
    optimizer.zero_grad()
    cast = [Parameter(param.detach().clone()) for param in params]
    reference = info.optim_cls(cast)
    reference.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(optimizer, params, range(steps, steps + 3))
    advance(reference, cast, range(steps, steps + 3))
    torch.testing.assert_close(params, cast, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict()["state"], reference.state_dict()["state"])


@pytest.mark.parametrize("info", EVERY)
def test_lazy_modules_as_under_adamw(info):
    """The optimizer may be made before the first forward pass; the anchor is the value that this pass makes."""
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(1))
    optimizer = info.optim_cls(model.parameters(), lr=0.1)
    assert not optimizer.state_dict()["state"]
    loss = model(torch.ones(2, 3)).sum()
    start = [param.detach().clone() for param in model.parameters()]
    loss.backward()
    optimizer.step()
    assert all(torch.equal(optimizer.state[p]["anchor"], v) for p, v in zip(model.parameters(), start, strict=True))
    with pytest.raises(ValueError, match="anchor 0: its parameter has no shape yet; run the lazy module once before"):
        info.optim_cls(nn.LazyLinear(2).parameters(), anchor=[torch.ones(2, 3), torch.ones(2)])


def test_frozen_parameters_are_not_kept_alive():
    """A wrapper that replaces a frozen weight frees it."""
    import gc
    import weakref

    params = half_frozen()
    optimizer = DiGraP(params)
    gone = weakref.ref(params[0])
    optimizer.param_groups[0]["params"][0] = Parameter(torch.ones(2), requires_grad=False)
    del params
    gc.collect()
    assert gone() is None
