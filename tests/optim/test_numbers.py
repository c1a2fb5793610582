"""Where numbers go wrong: huge gradients, NaN, infinities, displacements whose squares are denormal."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import digrap.optim as fast
from digrap.optim.base import AnchoredOptimizer
from tests.optim.test_no_sync import ForbidReads
from tests.optim.walk import SHAPES
from tests.reference import RULES as SLOW

RULES = [
    ("DiGraP", {"mu": 0.5, "omega_max": 0.9}),
    ("DiGraP", {"mu": 0.5, "rule": "listing", "normalize": "tensor", "lam": 0.1, "omega_max": 0.9}),
    ("DiGraP", {"mu": 0.5, "normalize": "none"}),
    ("DiGraP", {"omega": 0.7, "rule": "listing"}),
    ("FTP", {"mu": 0.1}),
    ("SPD", {}),
    ("L2SP", {"lam": 0.1}),
    ("MARSSP", {"lam": 0.1}),
]
EVERY = [pytest.param(name, options, id=f"{name}-{options}") for name, options in RULES]
LEARNT = {"DiGraP": "omega", "FTP": "gamma"}
STEPS, BAD = 12, 4  # the bad gradient comes in that step


def walk(optimizer, params, spoil=lambda grad: None, steps=STEPS):
    """Steps with reversing gradients, the one of step BAD changed in place by `spoil`; no number is read."""
    generator = torch.Generator().manual_seed(3)
    for step in range(1, steps + 1):
        for param in params:
            grad = torch.randn(param.shape, generator=generator, dtype=torch.float64) + 2 * (-1) ** step
            param.grad = grad.to(param.dtype)
            if step == BAD:
                spoil(param.grad)
        ours = isinstance(optimizer, AnchoredOptimizer)
        with ForbidReads([state["step"] for state in optimizer.state.values()]) if ours else nullcontext():
            optimizer.step()


def made(name, dtype=torch.float32, scale=1.0, **options):
    """Parameters of every shape and their optimizer, away from the anchors."""
    generator = torch.Generator().manual_seed(2)
    starts = [torch.randn(shape, generator=generator).to(dtype) * scale for shape in SHAPES.values()]
    anchors = [(0.9 * start) for start in starts]
    params = [torch.nn.Parameter(start) for start in starts]
    cls = getattr(fast, name, None) or torch.optim.AdamW
    return cls(params, lr=1e-2, **({"anchor": anchors} if cls is not torch.optim.AdamW else {}), **options), params


def set_one(value):
    def spoil(grad):
        grad.view(-1)[0] = value

    return spoil


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_huge_gradient_leaves_everything_finite_and_learning(name, options, dtype):
    optimizer, params = made(name, dtype, **options)
    walk(optimizer, params, lambda grad: grad.mul_(1e20))
    plain, others = made("AdamW", dtype, weight_decay=0.0)
    walk(plain, others, lambda grad: grad.mul_(1e20))
    assert all(torch.isfinite(param).all() for param in others)  # AdamW stays finite
    key = LEARNT.get(name)
    for param in params:
        assert torch.isfinite(param).all()
        state = optimizer.state[param]
        assert all(torch.isfinite(state[entry]) for entry in optimizer.scalars if entry in state)
    if key and key in optimizer.state[params[0]]:
        before = [optimizer.state[param][f"{key}_exp_avg"].clone() for param in params]
        walk(optimizer, params, steps=BAD - 1)
        after = [optimizer.state[param][f"{key}_exp_avg"] for param in params]
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "options"), EVERY)
def test_one_bad_element_spoils_no_other(name, options, dtype, value):
    """AdamW loses the one element; so do the rules, and they stay finite elsewhere."""
    optimizer, params = made(name, dtype, **options)
    walk(optimizer, params, set_one(value))
    for param in params:
        assert torch.isfinite(param.flatten()[1:]).all()
        state = optimizer.state[param]
        assert all(torch.isfinite(state[entry]) for entry in optimizer.scalars if entry in state)


@pytest.mark.parametrize("name", ["DiGraP", "FTP", "SPD"])
def test_numbers_learn_on_when_the_gradient_is_well_again(name):
    """Plain SGD in which a non-finite gradient reached only the rule: a hook put the parameters back."""
    optimizer, params = made(name, base="sgd")
    walk(optimizer, params, steps=BAD - 1)
    kept = [param.detach().clone() for param in params]
    held = copy.deepcopy([optimizer.state[param] for param in params])
    for param in params:
        param.grad = torch.full_like(param, float("nan"))
    optimizer.step()
    for param, value, before in zip(params, kept, held, strict=True):
        param.data.copy_(value)
        for key in optimizer.scalars:
            if key in before and key not in ("projection", "removed", "conflicts"):
                assert torch.equal(optimizer.state[param][key], before[key]), key  # the learning step was left out
    walk(optimizer, params, steps=3)
    for param, before in zip(params, held, strict=True):
        assert torch.isfinite(param).all()
        if name in LEARNT:
            key = f"{LEARNT[name]}_exp_avg"
            assert torch.isfinite(optimizer.state[param][key]) and optimizer.state[param][key] != before[key]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_displacement_with_denormal_squares_is_not_projected(dtype):
    """‖δ‖² of 1e-40 has two digits; d/n of it was off by a third, and infinite for a smaller δ."""
    for size in (3e-23, 1e-20, 1e-15):
        found = []
        for omega in (1.0, 0.0):
            param = torch.nn.Parameter(torch.full((3, 4), size, dtype=dtype))
            optimizer = fast.DiGraP([param], lr=1.0, base="sgd", anchor="zero", rule="listing", omega=omega)
            param.grad = torch.linspace(0.5, 1.5, 12).view(3, 4).to(dtype)
            optimizer.step()
            found.append(param.detach().float())
            assert float(optimizer.state[param]["removed"]) == 0 or size > 1e-18
        assert torch.equal(*found) == (size < 1e-18)
        assert torch.isfinite(found[0]).all()


def test_a_factor_beyond_float16_stays_finite():
    """d/n of a δ of 6e-8 is 1.7e7, which float16 does not hold."""
    param = torch.nn.Parameter(torch.full((4,), 6e-8, dtype=torch.float16))
    optimizer = fast.DiGraP([param], lr=1.0, base="sgd", anchor="zero", rule="listing", omega=1.0)
    param.grad = torch.tensor([1.0, 1.0, 1.0, 0.5], dtype=torch.float16)
    param.data[3] = 0.0  # ∞ · 0
    optimizer.step()
    assert torch.isfinite(param).all()


@pytest.mark.parametrize(
    ("spoil", "base"), [("huge", "adamw"), ("nan", "adamw"), ("inf", "adamw"), ("nan", "sgd"), ("inf", "sgd")]
)
@pytest.mark.parametrize(("name", "options"), EVERY)
def test_the_reference_does_the_same(name, options, base, spoil):
    """In float64, where a gradient of 1e200 has no finite square. A lost element may become ∞ or NaN."""
    spoils = {"huge": lambda g: g.mul_(1e200), "nan": set_one(float("nan")), "inf": set_one(float("inf"))}
    optimizer, params = made(name, torch.float64, base=base, **options)
    anchors = [optimizer.state[param]["anchor"] for param in params]
    slow = [SLOW[name](p.detach(), anchor=a, base=base, **options) for p, a in zip(params, anchors, strict=True)]
    generator = torch.Generator().manual_seed(5)
    for step in range(1, STEPS + 1):
        for param in params:
            noise = torch.randn(param.shape, dtype=torch.float64, generator=generator)
            param.grad = noise.add_((-1) ** step)
            if step == BAD:
                spoils[spoil](param.grad)
        optimizer.step()
        with np.errstate(all="ignore"):
            for param, reference in zip(params, slow, strict=True):
                theta = torch.from_numpy(np.asarray(reference.step(param.grad.numpy(), 1e-2)))
                found, wanted = (torch.where(x.isfinite(), x, torch.nan) for x in (param.detach(), theta))
                torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12, equal_nan=True)
    if (key := LEARNT.get(name)) and "omega" not in options:
        for param, reference in zip(params, slow, strict=True):
            wanted = float(getattr(reference, key))
            assert float(optimizer.state[param][key]) == pytest.approx(wanted, rel=1e-8, abs=1e-9)
