"""capturable=True, on a CPU that is declared to be a device of it: equal to the ordinary step, and nothing is read."""

import copy
import sys

import pytest
import torch

from digrap.optim import DiGraP, base_update
from tests.optim.infos import INFOS
from tests.optim.steps import advance, fill, shapes
from tests.optim.test_no_sync import ForbidReads

WAYS = [
    pytest.param(info, given.kwargs, id=f"{info.name}-{given.desc}")
    for info in INFOS
    for given in info.optim_inputs_func(device="cpu")
    if not torch.is_tensor(given.kwargs.get("lr"))
]


@pytest.fixture
def on_cpu(monkeypatch):
    """The CPU among the devices that torch supports capturable=True on."""
    for module in (base_update, sys.modules["torch.optim.adam"]):
        monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda supports_xla=True: ["cpu", "cuda"])


def away(params):
    """Anchors at a distance: where δ is a step or two, all rows of MARS-SP have one norm, up to rounding."""
    return [param.detach() * 0.5 for param in params]


def unread(optimizer, params, steps):
    """Steps with gradients as in `advance`, in which no tensor is read."""
    for step in steps:
        fill(params, step)
        with ForbidReads([]):
            optimizer.step()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("tensor_lr", [False, True])
@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize(("info", "kwargs"), WAYS)
def test_equals_the_ordinary_step_and_reads_nothing(on_cpu, info, kwargs, foreach, tensor_lr):
    ordinary, captured = shapes(), shapes()
    options = {"lr": 1e-3, "anchor": away(ordinary)} | kwargs
    plain = info.optim_cls(ordinary, **options, fused=False)
    if tensor_lr:
        options["lr"] = torch.tensor(options["lr"], dtype=torch.float64)
    optimizer = info.optim_cls(captured, **options, foreach=foreach, capturable=True)
    advance(plain, ordinary, range(8))
    unread(optimizer, captured, range(8))
    close = {"rtol": 1e-4, "atol": 1e-6}  # torch takes AdamW's bias corrections in float32 then
    torch.testing.assert_close(captured, ordinary, **close)
    for a, b in zip(captured, ordinary, strict=True):
        torch.testing.assert_close(dict(optimizer.state[a]), dict(plain.state[b]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("info", [pytest.param(info, id=info.name) for info in INFOS])
def test_a_changed_learning_rate_and_late_parameters(on_cpu, info):
    """The learning rate is changed in place; one parameter lacks a gradient for some steps, so that the tensors of a
    bucket are at different steps."""
    ordinary, captured = shapes(), shapes()
    rate = torch.tensor(0.01)
    optimizers = [
        info.optim_cls(ordinary, lr=0.01, anchor=away(ordinary), fused=False),
        info.optim_cls(captured, lr=rate, anchor=away(captured), capturable=True),
    ]
    for step in range(8):
        for params, optimizer in zip((ordinary, captured), optimizers, strict=True):
            fill(params, step)
            if step < 4:
                params[0].grad = None
            with ForbidReads([state["step"] for state in optimizers[0].state.values()]):
                optimizer.step()
        optimizers[0].param_groups[0]["lr"] *= 0.8
        rate.mul_(0.8)
    torch.testing.assert_close(captured, ordinary, rtol=1e-4, atol=1e-6)
    assert float(optimizers[1].state[captured[0]]["step"]) == 4


@pytest.mark.parametrize("info", [pytest.param(info, id=info.name) for info in INFOS])
def test_checkpoints_pass_between_both(on_cpu, info):
    for order in ((False, True), (True, False)):
        ordinary, params = shapes(), shapes()
        advance(info.optim_cls(ordinary, fused=False), ordinary, range(8))
        first = info.optim_cls(params, capturable=order[0], fused=False)
        advance(first, params, range(4))
        second = info.optim_cls(params, capturable=order[1], fused=False)
        saved = copy.deepcopy(first.state_dict())
        saved["param_groups"][0]["capturable"] = order[1]
        second.load_state_dict(saved)
        advance(second, params, range(4, 8))
        torch.testing.assert_close(params, ordinary, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("base", ["adamw", "sgd"])
@pytest.mark.parametrize("info", [pytest.param(info, id=info.name) for info in INFOS])
def test_a_cpu_is_refused_as_by_torch(info, base):
    params = shapes()
    optimizer = info.optim_cls([("weight", params[0])], base=base, capturable=True)
    fill(params, 0)
    with pytest.raises(RuntimeError, match="parameter weight is on cpu; torch supports it on cuda"):
        optimizer.step()
    optimizer.param_groups[0]["capturable"] = False  # as the message says
    optimizer.step()
    assert float(optimizer.state[params[0]]["step"]) == 1


def test_the_report_reads_once(on_cpu):
    params = shapes()
    optimizer = DiGraP(params, capturable=True)
    assert optimizer.omega_report() == {}  # no step yet
    unread(optimizer, params, range(5))
    with ForbidReads([]):
        report = optimizer.omega_report()
    assert len(report) == len(params) and any(0 < entry["omega"] < 1 for entry in report.values())
