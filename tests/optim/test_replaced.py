"""Wrappers that put tensors of their own into the groups after the optimizer was made, as DeepSpeed's ZeRO does."""

import pytest
import torch
from torch.nn import Parameter

from digrap.optim import L2SP
from tests.optim.infos import EVERY, INFOS
from tests.optim.steps import advance, fill, shapes

SUMMED = [pytest.param(info.optim_cls, id=info.name) for info in INFOS if info.optim_cls is not L2SP]
FLATTENED = r"parameter 0\.0 is a vector of 42 elements that a wrapper \(such as DeepSpeed's ZeRO\) put in place of 4"


def flatten(optimizer):
    """Replace a group's tensors by one float32 copy of all their values; returns it."""
    group = optimizer.param_groups[0]
    flat = Parameter(torch.cat([param.detach().float().flatten() for param in group["params"]]))
    group["params"] = [flat]
    return flat


def flat_gradient(params, step):
    fill(params, step)
    return torch.cat([param.grad.float().flatten() for param in params])


@pytest.mark.parametrize("cls", SUMMED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rules_with_sums_refuse_a_flattened_group(cls, dtype):
    """Their sums would run over all tensors at once: DiGraP, SPD, MARS-SP went 2 to 7 % astray, without a word."""
    params = shapes(dtype=dtype)
    optimizer = cls(params)
    flat = flatten(optimizer)
    before = flat.detach().clone()
    flat.grad = flat_gradient(params, 0)
    for attempt in (optimizer.step, optimizer.step, optimizer.state_dict):
        with pytest.raises(RuntimeError, match=f"{cls.__name__}: {FLATTENED}.*fully_shard instead, or use L2SP"):
            attempt()
    assert torch.equal(flat, before)
    one = torch.optim.AdamW([flat])
    one.step()
    with pytest.raises(RuntimeError, match=FLATTENED):
        optimizer.load_state_dict(one.state_dict())


@pytest.mark.parametrize("cls", SUMMED)
def test_one_matrix_and_its_slice_are_refused(cls):
    """The vector holds one tensor, and of that one rank's part."""
    param = Parameter(torch.ones(4, 3))
    optimizer = cls([param])
    optimizer.param_groups[0]["params"] = [flat := Parameter(torch.ones(6))]
    flat.grad = torch.ones(6)
    with pytest.raises(RuntimeError, match="is a vector of 6 elements .* in place of 1 tensors"):
        optimizer.step()


def test_l2sp_of_a_flattened_group_is_that_of_its_tensors():
    """The remedy that the refusal names."""
    params, plain = shapes(), shapes()
    optimizer, reference = L2SP(params, lam=0.3), L2SP(plain, lam=0.3)
    flat = flatten(optimizer)
    start = flat.detach().clone()
    for step in range(12):
        flat.grad = flat_gradient(params, step)
        optimizer.step()
    advance(reference, plain, range(12))
    assert torch.equal(optimizer.state[flat]["anchor"], start)
    torch.testing.assert_close(flat.detach(), torch.cat([param.detach().flatten() for param in plain]))


@pytest.mark.parametrize("info", EVERY)
def test_a_flattened_head_without_anchor_gets_the_base_update(info):
    params = shapes()
    optimizer = info.optim_cls(params, anchor="none", fused=False)
    flat = flatten(optimizer)
    reference = torch.optim.AdamW([plain := Parameter(flat.detach().clone())], weight_decay=0.0)
    for step in range(3):
        plain.grad = flat_gradient(params, step)
        flat.grad = plain.grad.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(flat, plain)


@pytest.mark.parametrize("info", EVERY)
def test_master_copies_are_anchored_at_their_values(info):
    """Copies of the same shapes in float32, whose values go back into the half-precision model after each step."""
    model = shapes(dtype=torch.bfloat16)
    optimizer = info.optim_cls(model, lr=0.01)
    masters = [Parameter(param.detach().float()) for param in model]
    optimizer.param_groups[0]["params"] = masters
    plain = [Parameter(param.detach().float()) for param in model]
    advance(optimizer, masters, range(6))
    advance(info.optim_cls(plain, lr=0.01), plain, range(6))
    torch.testing.assert_close(masters, plain, rtol=0, atol=0)
    assert all(torch.equal(optimizer.state[p]["anchor"], q.float()) for p, q in zip(masters, model, strict=True))
    assert {value.dtype for state in optimizer.state.values() for value in state.values()} == {torch.float32}


@pytest.mark.parametrize("info", EVERY)
def test_a_larger_head_may_replace_another(info):
    """The vocabulary grew: weight and bias of other shapes, which are anchored at their own values."""
    body, weight, bias = Parameter(torch.ones(3, 3)), Parameter(torch.ones(4, 3)), Parameter(torch.ones(4))
    optimizer = info.optim_cls([body, weight, bias])
    optimizer.param_groups[0]["params"] = after = [body, Parameter(torch.ones(6, 3)), Parameter(torch.ones(6))]
    advance(optimizer, after, range(2))
    assert set(optimizer.state) == set(after)
