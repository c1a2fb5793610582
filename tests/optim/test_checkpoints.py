"""State dicts, checkpoints, copies and pickles of each class; checkpoints of other optimizers."""

import copy
import io
import pickle

import pytest
import torch
from torch.nn import Parameter

from digrap.optim import FTP
from tests.optim.infos import EVERY, WAYS
from tests.optim.steps import DTYPES, advance, options, same_state, shapes


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("info", "kwargs"), WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights_only", [True, False])
def test_save_and_load_resume_bit_for_bit(info, kwargs, dtype, weights_only):
    """10 + 10 steps through torch.save equal 20, whatever the dtype."""
    params = shapes(dtype=dtype)
    optimizer = info.optim_cls(params, **options(kwargs))
    advance(optimizer, params, range(10))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    others = [Parameter(param.detach().clone()) for param in params]
    resumed = info.optim_cls(others, **options(kwargs))
    resumed.load_state_dict(torch.load(file, weights_only=weights_only))
    same_state(optimizer.state_dict(), resumed.state_dict())
    advance(optimizer, params, range(10, 20))
    advance(resumed, others, range(10, 20))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    same_state(optimizer.state_dict(), resumed.state_dict())


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
@pytest.mark.parametrize(
    "copying", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))], ids=["deep", "pickle"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_copies_continue_independently(info, kwargs, copying, dtype):
    params = shapes(dtype=dtype)
    optimizer = info.optim_cls(params, **options(kwargs))
    advance(optimizer, params, range(5))
    copied = copying(optimizer)
    others = copied.param_groups[0]["params"]
    same_state(optimizer.state_dict(), copied.state_dict())
    advance(optimizer, params, range(5, 10))
    assert float(copied.state[others[0]]["step"]) == 5
    advance(copied, others, range(5, 10))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    # Copies lose hooks; loading must keep numbers in float32 in them too.
    copied.load_state_dict(optimizer.state_dict())
    same_state(optimizer.state_dict(), copied.state_dict())


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
def test_load_before_the_first_step(info, kwargs):
    """accelerate loads an optimizer's own state into it in prepare()."""
    params, others = shapes(), shapes()
    optimizer, prepared = info.optim_cls(params, **options(kwargs)), info.optim_cls(others, **options(kwargs))
    prepared.load_state_dict(prepared.state_dict())
    advance(optimizer, params, range(5))
    advance(prepared, others, range(5))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
def test_a_deep_copy_of_the_state_loads(info, kwargs):
    params = shapes()
    optimizer = info.optim_cls(params, **options(kwargs))
    advance(optimizer, params, range(3))
    saved = copy.deepcopy(optimizer.state_dict())
    others = [Parameter(param.detach().clone()) for param in params]
    loaded = info.optim_cls(others, **options(kwargs))
    loaded.load_state_dict(saved)
    advance(loaded, others, range(3, 6))
    advance(optimizer, params, range(3, 6))
    same_state(optimizer.state_dict(), loaded.state_dict())


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
def test_state_dict_holds_no_python_lists_and_no_anchors_in_groups(info, kwargs):
    params = shapes()
    optimizer = info.optim_cls(params, **options(kwargs))
    advance(optimizer, params, range(2))
    state = optimizer.state_dict()
    assert all(torch.is_tensor(value) for entry in state["state"].values() for value in entry.values())
    for group in state["param_groups"]:
        assert not any(torch.is_tensor(value) and value.numel() > 1 for value in group.values())
        assert isinstance(group["anchor"], str)


@pytest.mark.parametrize("info", EVERY)
def test_a_list_of_anchors_survives_a_checkpoint(info):
    params = shapes()
    optimizer = info.optim_cls(params, anchor=[param.detach() + 1 for param in params])
    advance(optimizer, params, range(3))
    others = [Parameter(param.detach().clone()) for param in params]
    loaded = info.optim_cls(others)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(optimizer, params, range(3, 6))
    advance(loaded, others, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    assert not optimizer.defaults["anchor"] or isinstance(optimizer.defaults["anchor"], str)


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("anchor", ["init", "zero"])
def test_a_checkpoint_of_torchs_own_optimizer_loads(info, anchor):
    """Moments and step are kept; missing options take their defaults, anchors the values at loading."""
    params = shapes()
    plain = torch.optim.AdamW(params)
    advance(plain, params, range(3))
    optimizer = info.optim_cls(params, anchor=anchor)
    optimizer.load_state_dict(plain.state_dict())
    here = [param.detach().clone() for param in params]
    assert float(optimizer.state[params[0]]["step"]) == 3
    if anchor == "init":
        assert all(torch.equal(optimizer.state[p]["anchor"], value) for p, value in zip(params, here, strict=True))
    advance(optimizer, params, range(3, 6))
    assert all(torch.isfinite(param).all() for param in params)


@pytest.mark.parametrize("info", EVERY)
def test_empty_parameters_are_left_alone(info):
    params = [Parameter(torch.zeros(0, 3)), Parameter(torch.zeros(2))]
    optimizer = info.optim_cls(params)
    for param in params:
        param.grad = torch.ones_like(param)
    for _ in range(2):
        optimizer.step()
    assert not torch.equal(params[1], torch.zeros(2)) or isinstance(optimizer, FTP)
