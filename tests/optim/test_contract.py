"""The contract of torch optimizers in a step, after the properties in PyTorch's TestOptimRenewed, for each class."""

import pytest
import torch
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.testing._internal.common_optimizers import OptimizerErrorEnum

from tests.optim.infos import EVERY, INFOS, WAYS
from tests.optim.steps import DTYPES, advance, fill, options, shapes


@pytest.mark.parametrize("info", EVERY)
def test_errors(info):
    for case in info.optim_error_inputs_func(device="cpu", dtype=torch.float32):
        given = case.optimizer_error_input
        params = [Parameter(torch.randn(2, 3))] if given.params is None else given.params
        if case.error_on == OptimizerErrorEnum.STEP_ERROR:
            optimizer = info.optim_cls(params, **given.kwargs)
            with pytest.raises(case.error_type, match=case.error_regex):
                optimizer.step()
        elif issubclass(case.error_type, Warning):
            with pytest.warns(case.error_type, match=case.error_regex):
                info.optim_cls(params, **given.kwargs)
        else:
            with pytest.raises(case.error_type, match=case.error_regex):
                info.optim_cls(params, **given.kwargs)


@pytest.mark.parametrize("info", EVERY)
def test_a_complex_gradient_is_refused(info):
    """Only a parameter that became complex after the optimizer was made can have one."""
    param = Parameter(torch.zeros(2))
    optimizer = info.optim_cls([param])
    param.data = param.data.to(torch.complex64)
    param.grad = torch.ones(2, dtype=torch.complex64)
    with pytest.raises(RuntimeError, match="complex gradients"):
        optimizer.step()


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
@pytest.mark.parametrize("schedule", [False, True])
def test_steps_go_in_the_right_direction(info, kwargs, schedule):
    weight, bias = Parameter(torch.tensor([[0.9, -0.4], [0.3, 0.8]])), Parameter(torch.zeros(2))
    inputs, target = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]]), torch.tensor([[1.0, 0.0]] * 3)
    optimizer = info.optim_cls([{"params": [weight]}, {"params": [bias], "lr": 0.01}], **options(kwargs))
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step / 50)) if schedule else None

    def closure():
        optimizer.zero_grad()
        loss = ((inputs @ weight + bias - target) ** 2).sum()
        loss.backward()
        return loss

    first = closure().item()
    for _ in range(40):
        assert torch.is_tensor(optimizer.step(closure))  # the loss of the closure is returned
        if scheduler:
            scheduler.step()
    assert closure().item() < first


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_foreach_equals_the_loop(info, kwargs, dtype):
    if isinstance(kwargs.get("lr"), torch.Tensor):
        pytest.skip("torch has no foreach implementation for a tensor learning rate")
    results = []
    for foreach in (False, True):
        params = shapes(dtype=dtype)
        optimizer = info.optim_cls(params, **options(kwargs), foreach=foreach)
        advance(optimizer, params, range(7))
        results.append((params, optimizer.state_dict()["state"]))
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 1e-2}.get(dtype)  # torch's own implementations differ as much
    exact = {} if tolerance is None else {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(results[0][0], results[1][0], **exact)
    if tolerance is None:  # in half precision d/n of a small δ is mostly rounding error
        torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
def test_no_gradient_means_no_step(info, kwargs):
    params = shapes()
    before = [param.detach().clone() for param in params]
    optimizer = info.optim_cls(params, **options(kwargs))
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
    for _ in range(4):  # FTP hardly moves in its first step
        fill(params, 0)
        params[1].grad = None
        optimizer.step()
    assert torch.equal(params[1], before[1])
    assert not torch.equal(params[0], before[0])
    assert float(optimizer.state[params[1]]["step"]) == 0
    assert float(optimizer.state[params[0]]["step"]) == 4


@pytest.mark.parametrize("info", EVERY)
def test_zero_gradients_at_the_anchor_change_nothing(info):
    params = shapes()
    before = [param.detach().clone() for param in params]
    optimizer = info.optim_cls(params)
    for _ in range(3):
        for param in params:
            param.grad = torch.zeros_like(param)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))


@pytest.mark.parametrize("info", EVERY)
def test_gradients_are_not_changed(info):
    for base in ("adamw", "sgd"):
        params = shapes()
        optimizer = info.optim_cls(params, base=base, weight_decay=0.1)
        for step in range(3):
            fill(params, step)
            before = [param.grad.clone() for param in params]
            optimizer.step()
            assert all(torch.equal(param.grad, grad) for param, grad in zip(params, before, strict=True))


@pytest.mark.parametrize("info", EVERY)
def test_hooks(info):
    params, calls = shapes(), []
    optimizer = info.optim_cls(params)
    handles = [
        optimizer.register_step_pre_hook(lambda *_: calls.append("pre")),
        optimizer.register_step_post_hook(lambda *_: calls.append("post")),
        register_optimizer_step_pre_hook(lambda *_: calls.append("every pre")),
        register_optimizer_step_post_hook(lambda *_: calls.append("every post")),
        optimizer.register_state_dict_pre_hook(lambda *_: calls.append("saving")),
        optimizer.register_state_dict_post_hook(lambda _, state: state | {"note": 1}),
        optimizer.register_load_state_dict_pre_hook(lambda _, state: {k: v for k, v in state.items() if k != "note"}),
        optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("loaded")),
    ]
    try:
        advance(optimizer, params, range(1))
        saved = optimizer.state_dict()
        assert saved["note"] == 1
        optimizer.load_state_dict(saved)
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["every pre", "pre", "post", "every post", "saving", "loaded"]


@pytest.mark.parametrize("info", EVERY)
def test_mixed_dtypes_and_groups(info):
    """Each parameter is updated as in an optimizer of its own."""
    together = [Parameter(p.detach().to(dtype)) for p, dtype in zip(shapes(), DTYPES, strict=True)]
    alone = [Parameter(param.detach().clone()) for param in together]
    settings = [{"lr": 0.1}, {"base": "sgd", "momentum": 0.9}, {"anchor": "zero"}, {"weight_decay": 0.5}]
    groups = [{"params": [param], **chosen} for param, chosen in zip(together, settings, strict=True)]
    optimizer = info.optim_cls(groups)
    singles = [info.optim_cls([param], **chosen) for param, chosen in zip(alone, settings, strict=True)]
    for step in range(6):
        fill(together, step)
        optimizer.step()
        fill(alone, step)
        for single in singles:
            single.step()
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("info", EVERY)
def test_add_param_group_late(info):
    first, late = shapes(0), shapes(1)
    optimizer = info.optim_cls(first)
    advance(optimizer, first, range(3))
    optimizer.add_param_group({"params": late, "lr": 0.05})
    own = [Parameter(param.detach().clone()) for param in late]
    reference = info.optim_cls(own, lr=0.05)
    advance(optimizer, late, range(4))
    advance(reference, own, range(4))
    assert all(torch.equal(a, b) for a, b in zip(late, own, strict=True))
    groups = len(optimizer.param_groups)
    with pytest.raises(ValueError, match="anchor='begin'"):
        optimizer.add_param_group({"params": [Parameter(torch.zeros(2))], "anchor": "begin"})
    assert len(optimizer.param_groups) == groups  # a refused group leaves no trace


@pytest.mark.parametrize("info", EVERY)
def test_named_parameters(info):
    model = torch.nn.Linear(3, 2)
    optimizer = info.optim_cls(model.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert list(optimizer.names().values()) == ["weight", "bias"]
    assert list(info.optim_cls(model.parameters()).names().values()) == ["0.0", "0.1"]
    other = info.optim_cls(torch.nn.Linear(3, 2).named_parameters())
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["param_names"] == ["weight", "bias"]


@pytest.mark.parametrize("info", EVERY)
def test_a_tensor_learning_rate_equals_the_number(info):
    for base in ("adamw", "sgd"):
        plain, tensor = shapes(), shapes()
        advance(info.optim_cls(plain, lr=0.01, base=base, foreach=False), plain, range(5))
        advance(info.optim_cls(tensor, lr=torch.tensor(0.01, dtype=torch.float64), base=base), tensor, range(5))
        torch.testing.assert_close(plain, tensor)


@pytest.mark.parametrize(("info", "kwargs"), [*WAYS, *((info, {"base": "sgd", "anchor": "zero"}) for info in INFOS)])
def test_state_follows_a_moved_model(info, kwargs):
    """State made on the CPU is moved to the parameters' device in the step (here meta)."""
    if torch.is_tensor(kwargs.get("lr")):
        pytest.skip("torch reads a tensor learning rate, and meta has no value")
    params = [Parameter(param.detach().to("meta")) for param in shapes()]
    optimizer = info.optim_cls(params, **options(kwargs))
    for param in params:
        param.grad = torch.zeros_like(param)
        state = optimizer.state[param]
        state.update({key: torch.zeros(value.shape, dtype=value.dtype) for key, value in state.items()})
    optimizer.step()
    for param in params:
        assert {v.device.type for k, v in optimizer.state[param].items() if k != "step"} <= {"meta"}
        assert float(optimizer.state[param]["step"]) == 1


@pytest.mark.parametrize("info", EVERY)
def test_removed_parameters_leave_no_state(info):
    """Wrappers put new tensors into the groups: their anchors are taken at the first step, old state is deleted."""
    params, fresh = shapes(0), shapes(1)
    optimizer = info.optim_cls(params)
    optimizer.param_groups[0]["params"] = fresh
    before = [param.detach().clone() for param in fresh]
    advance(optimizer, fresh, range(2))
    assert set(optimizer.state) == set(fresh)
    assert all(torch.equal(optimizer.state[p]["anchor"], value) for p, value in zip(fresh, before, strict=True))
