"""DiGraP against its float64 reference and torch's own optimizers, and its reports."""

import itertools

import numpy as np
import pytest
import torch

from digrap.optim import DiGraP, param_groups
from tests.optim.walk import BASES, STEPS, gradients, lr_at, run, start
from tests.reference import DiGraP as Reference

RULES, NORMALIZE, ANCHORS = ("conflict", "listing"), ("rows", "tensor", "none"), ("init", "zero", "list")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("rule", "normalize", "base", "anchor", "omega", "lam"),
    [
        *itertools.product(RULES, NORMALIZE, BASES, ANCHORS, (None,), (0.0,)),
        *itertools.product(RULES, ("rows",), BASES, ANCHORS, (0.6,), (0.0,)),
        *itertools.product(("conflict",), ("rows",), BASES, ANCHORS, (None, 0.6), (0.2,)),
        *itertools.product(("conflict",), ("rows",), BASES, ("none",), (None, 0.6), (0.2,)),
    ],
)
def test_equals_the_reference(rule, normalize, base, anchor, omega, lam):
    params = start()
    anchors = {name: value.detach() + 0.3 for name, value in params.items()}
    options = dict(BASES[base], rule=rule, normalize=normalize, omega=omega, lam=lam, mu=0.05)
    slow = {
        name: Reference(param.detach(), anchor=anchors[name] if anchor == "list" else anchor, **options)
        for name, param in params.items()
    }
    fast = DiGraP(params.items(), anchor=list(anchors.values()) if anchor == "list" else anchor, **options)
    grads, seen = list(gradients(params)), []
    conflicts = dict.fromkeys(params, 0)

    def compare(step):
        for name, param in params.items():
            slow[name].step(grads[step][name], lr_at(step))
            conflicts[name] += slow[name].conflict
            np.testing.assert_allclose(param.detach().numpy(), slow[name].theta, rtol=1e-10, atol=1e-12, err_msg=name)
        seen.append(slow["kernel"].omega)

    run(fast, params, grads, compare)
    report = fast.omega_report()
    if anchor == "none":
        assert report == {}
        return
    for name in params:
        assert report[name]["omega"] == pytest.approx(slow[name].omega, rel=1e-6, abs=1e-9)
        assert report[name]["conflict"] == pytest.approx(conflicts[name] / STEPS)
    # The test is only meaningful if both branches ran and ω moved inside its range.
    assert 0 < conflicts["kernel"] < STEPS
    if omega is None:
        assert len({value for value in seen if 0 < value < 1}) > 5


def test_float32_stays_close_to_the_reference():
    params = start(dtype=torch.float32)
    slow = {name: Reference(param.detach().double()) for name, param in params.items()}
    grads = list(gradients(params))
    run(DiGraP(params.values()), params, grads)
    for name, param in params.items():
        for step, values in enumerate(grads):
            slow[name].step(values[name].astype(np.float32), lr_at(step))
        np.testing.assert_allclose(param.detach().numpy(), slow[name].theta, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{"omega": 0.0}, {"omega_max": 0.0}, {"mu": 0.0}, {"anchor": "none"}], ids=str)
def test_without_projection_it_is_torch_bit_for_bit(foreach, base, dtype, options):
    ours, theirs = start(dtype=dtype), start(dtype=dtype)
    common = {key: value for key, value in BASES[base].items() if key != "base"}
    plain = torch.optim.AdamW if BASES[base]["base"] == "adamw" else torch.optim.SGD
    run(DiGraP(ours.values(), **BASES[base], **options, foreach=foreach, fused=False), ours, gradients(ours, steps=30))
    run(plain(theirs.values(), lr=1e-3, **common, foreach=foreach), theirs, gradients(theirs, steps=30))
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_omega_starts_at_zero_and_a_fixed_one_acts_at_once():
    learnt, fixed = start(), start()
    away = {name: param.detach() + 1 for name, param in learnt.items()}
    runs = []
    for params, omega in ((learnt, None), (fixed, 1.0)):
        optimizer = DiGraP(params.items(), omega=omega, base="sgd", anchor=list(away.values()))
        run(optimizer, params, [{name: np.ones(param.shape) for name, param in params.items()}])
        runs.append(optimizer.omega_report())
    assert all(entry["omega"] == 0 and entry["removed"] == 0 for entry in runs[0].values())
    assert all(entry["omega"] == 1 for entry in runs[1].values())
    # g = 1, δ = −1: the whole gradient points away from the anchor and is projected out.
    assert all(entry["removed"] == pytest.approx(1) and entry["conflict"] == 1 for entry in runs[1].values())
    for name, param in fixed.items():
        torch.testing.assert_close(param.detach(), away[name] - 1, rtol=0, atol=1e-14)


def test_removed_is_the_energy_that_the_projection_removes():
    params = start()
    optimizer = DiGraP(params.items(), base="sgd", omega=0.4, lr=1.0, rule="listing")
    before = {}

    def remember(values):
        before.update({name: (param.detach().clone(), values[name]) for name, param in params.items()})

    grads = list(gradients(params, steps=6))
    for values in grads:
        remember(values)
        for name, param in params.items():
            param.grad = torch.tensor(values[name])
        optimizer.step()
    for name, entry in optimizer.omega_report().items():
        theta, g = before[name]
        used = (theta - params[name].detach()).numpy()  # plain SGD with lr 1 subtracts g'
        assert entry["removed"] == pytest.approx(1 - np.sum(used**2) / np.sum(g**2), abs=1e-9)


def test_t_counts_a_parameters_own_steps():
    """A parameter that lacks a gradient in some steps equals a reference that skips them."""
    params = start()
    slow = {name: Reference(param.detach()) for name, param in params.items()}
    optimizer = DiGraP(params.values())
    for step, values in enumerate(gradients(params)):
        optimizer.param_groups[0]["lr"] = lr_at(step)
        for position, (name, param) in enumerate(params.items()):
            present = step % (position + 1) == 0
            param.grad = torch.tensor(values[name]) if present else None
            if present:
                slow[name].step(values[name], lr_at(step))
        optimizer.step()
    for name, param in params.items():
        np.testing.assert_allclose(param.detach().numpy(), slow[name].theta, rtol=1e-10, atol=1e-12)


def test_a_change_of_the_parameters_between_steps_is_seen():
    """Projection methods change θ after a step: δ of the previous step stays as it was."""
    params = start()
    slow = {name: Reference(param.detach()) for name, param in params.items()}
    optimizer = DiGraP(params.values())
    for step, values in enumerate(gradients(params, steps=40)):
        optimizer.param_groups[0]["lr"] = lr_at(step)
        for name, param in params.items():
            param.grad = torch.tensor(values[name])
            slow[name].step(values[name], lr_at(step))
        optimizer.step()
        for name, param in params.items():
            param.data.mul_(0.9)
            slow[name].theta = slow[name].theta * 0.9
    for name, param in params.items():
        np.testing.assert_allclose(param.detach().numpy(), slow[name].theta, rtol=1e-10, atol=1e-12)


def test_anchor_is_the_value_at_construction():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = DiGraP([param])
    param.data.fill_(5.0)
    assert torch.equal(optimizer.state[param]["anchor"], torch.ones(3))
    late = torch.nn.Parameter(torch.full((2,), 7.0))
    optimizer.add_param_group({"params": [late]})
    assert torch.equal(optimizer.state[late]["anchor"], late.detach())


def test_zero_anchor_stores_no_anchor_and_fixed_omega_no_delta():
    param = torch.nn.Parameter(torch.ones(3))
    assert "anchor" not in DiGraP([param], anchor="zero").state[param]
    assert "delta" not in DiGraP([param], omega=1.0).state[param]


def test_param_groups():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    groups = param_groups(model, unanchored=["2"], no_decay="vectors")
    optimizer = DiGraP(groups, lr=1e-3, weight_decay=0.1)
    found = {
        name: (group["anchor"], group["weight_decay"])
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    assert found == {
        "0.weight": ("init", 0.1), "0.bias": ("init", 0.0), "1.weight": ("init", 0.0), "1.bias": ("init", 0.0),
        "2.weight": ("none", 0.1), "2.bias": ("none", 0.0),
    }  # fmt: skip
    with pytest.raises(ValueError, match="missing"):
        param_groups(model, unanchored=["missing"])


@pytest.mark.parametrize("normalize", ["rows", "tensor", "none"])
def test_nothing_blows_up_at_zero(normalize):
    """Zero gradients, no displacement, rows of zeros: finite numbers everywhere."""
    param = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = DiGraP([param], normalize=normalize)
    for scale in (0.0, 0.0, 1.0, 0.0, 1.0):
        param.grad = scale * torch.eye(3, 4)
        optimizer.step()
    assert torch.isfinite(param).all()
    assert all(torch.isfinite(value).all() for value in optimizer.state[param].values())


@pytest.mark.parametrize("fused", [None, False])
def test_rows_of_one_element_cancel_exactly(fused):
    """As many equal as opposite signs give h = 0 in float32 too (a depthwise kernel); Adam would make a rest of
    rounding errors large."""
    generator = torch.Generator().manual_seed(0)
    param = torch.nn.Parameter(torch.randn(8, 1, 3, 3, generator=generator))
    optimizer = DiGraP([param], fused=fused)
    state = optimizer.state[param]
    state["step"].fill_(5)
    state["delta"].normal_(generator=generator)
    state["projection"].fill_(0.7)
    state["omega"].fill_(0.25)
    param.grad = state["delta"].sign() * torch.rand(param.shape, generator=generator)
    param.grad[4:] *= -1
    optimizer.step()
    assert float(state["omega_exp_avg"]) == 0
    assert float(state["omega"]) == 0.25
