"""DiGraP(low_memory=True): the previous δ is rebuilt, exactly but for rounding, or the case is refused."""

import copy
import warnings

import pytest
import torch
from torch.nn import Parameter

from digrap.optim import DiGraP
from tests.optim.test_paths import parameters, path, walk  # noqa: F401  the fixture

BASES = {"adamw": {"weight_decay": 0.05}, "momentum": {"base": "sgd", "momentum": 0.9, "weight_decay": 0.05}}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("anchor", ["init", "zero"])
@pytest.mark.parametrize("normalize", ["rows", "none"])
def test_equals_the_kept_delta(path, base, anchor, normalize):  # noqa: F811
    options = {"lr": 0.01, "anchor": anchor, "normalize": normalize, **BASES[base]}
    kept, rebuilt = (
        DiGraP(parameters(torch.float64), **options),
        DiGraP(parameters(torch.float64), **options, low_memory=True),
    )
    assert rebuilt.implementation == path
    for optimizer in (kept, rebuilt):
        walk(optimizer, 8)
    for a, b in zip(kept.param_groups[0]["params"], rebuilt.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
        assert "delta" not in rebuilt.state[b]
        torch.testing.assert_close(kept.state[a]["omega"], rebuilt.state[b]["omega"], rtol=1e-6, atol=1e-8)
    assert any(float(rebuilt.state[param]["omega"]) > 0 for param in rebuilt.param_groups[0]["params"])


def test_float32_is_close():
    kept, rebuilt = (DiGraP(parameters(torch.float32), lr=0.01, low_memory=low) for low in (False, True))
    for optimizer in (kept, rebuilt):
        walk(optimizer, 8)
    for a, b in zip(kept.param_groups[0]["params"], rebuilt.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_goes_on():
    whole = DiGraP(parameters(torch.float32), lr=0.01, low_memory=True)
    walk(whole, 5)
    resumed = DiGraP(
        [Parameter(param.detach().clone()) for param in whole.param_groups[0]["params"]], lr=0.01, low_memory=True
    )
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for optimizer in (whole, resumed):
        walk(optimizer, 3, seed=7)
    for a, b in zip(whole.param_groups[0]["params"], resumed.param_groups[0]["params"], strict=True):
        assert torch.equal(a, b)


def test_state_is_one_tensor_smaller():
    sizes = []
    for low in (False, True):
        optimizer = DiGraP([Parameter(torch.ones(1000))], low_memory=low)
        sizes.append(sum(value.numel() for value in optimizer.state[optimizer.param_groups[0]["params"][0]].values()))
    assert 990 < sizes[0] - sizes[1] <= 1000


def test_edited_parameters_are_caught():
    params = {"first": Parameter(torch.ones(3)), "second": Parameter(torch.ones(2, 2))}
    optimizer = DiGraP(params.items(), low_memory=True)
    for param in params.values():
        param.grad = torch.ones_like(param)
    optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.state_dict()
    assert optimizer.edited() == []
    params["second"].data[0, 0] += 1e-6
    assert optimizer.edited() == ["second"]
    with pytest.warns(UserWarning, match="second changed after the last step"):
        optimizer.state_dict()
    optimizer.step()
    assert optimizer.edited() == []


@pytest.mark.parametrize(
    "options",
    [{"base": "sgd"}, {"base": "sgd", "momentum": 0.9, "nesterov": True}, {"capturable": True}],
    ids=str,
)
def test_steps_that_cannot_be_undone_are_refused(options):
    with pytest.raises(ValueError, match="low_memory=True"):
        DiGraP([Parameter(torch.ones(2))], low_memory=True, **options)


def test_half_precision_is_refused():
    with pytest.raises(ValueError, match="low_memory=True cannot undo a step of torch.bfloat16"):
        DiGraP([Parameter(torch.ones(2, dtype=torch.bfloat16))], low_memory=True)
