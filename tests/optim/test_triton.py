"""The Triton path, run by Triton's interpreter on CPU tensors, against torch operations and the float64 references."""

import copy

import numpy as np
import pytest
import torch

from digrap.optim import MARSSP, DiGraP
from digrap.optim.bucket import Bucket
from tests.optim.interpreted import CLASSES, LRS, SHAPES, fill, gradients, same, start, walk
from tests.reference import RULES as SLOW

pytest.importorskip("triton", reason="Triton is for Linux with a GPU build of torch")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy under the interpreter divides by 0
BASES = {
    "adamw": {"betas": (0.8, 0.95), "weight_decay": 0.03},
    "sgd": {"base": "sgd", "weight_decay": 0.03},
    "momentum": {"base": "sgd", "momentum": 0.9},
    "nesterov": {"base": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.03},
}
ANCHORS = ("init", "zero", "list")
FLAT = ("scalar", "vector", "short")  # enough where rows play no part
OPTIONS = {
    "L2SP": [{"lam": 0.2}],
    "MARSSP": [{"lam": 0.3}],
    "SPD": [{"strength": 0.7}],
    "FTP": [{"mu": 0.1}, {"k": 0.5, "mu": 0.1}],
    "DiGraP": [
        *({"normalize": unit, "rule": rule} for unit in ("rows", "tensor", "none") for rule in ("conflict", "listing")),
        {"omega": 0.6}, {"omega": 0.6, "rule": "listing", "lam": 0.2}, {"lam": 0.2},
    ],
}  # fmt: skip


def cases():
    """Every rule with every base, every anchor and every option."""
    pairs = [(base, anchor) for anchor in ANCHORS for base in BASES]
    for name, options in OPTIONS.items():
        for i in range(max(len(BASES), len(options))):
            base, anchor = pairs[5 * i % len(pairs)]
            yield pytest.param(name, options[i % len(options)], base, anchor, id=f"{name}-{i}-{base}-{anchor}")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("name", "options", "base", "anchor"), list(cases()))
def test_equals_the_reference_and_torch_operations(by_triton, name, options, base, anchor):
    names = FLAT if name in ("L2SP", "SPD") else tuple(SHAPES)
    ours, theirs = start(names=names), start(names=names)
    given = [1.2 * param.detach() + 0.3 for param in ours.values()] if anchor == "list" else anchor
    made = {"anchor": given, **BASES[base], **options}
    grads = list(gradients(4))
    optimizer, twin = (CLASSES[name](p.values(), **made, fused=f) for p, f in ((ours, True), (theirs, None)))
    walk(optimizer, ours, grads)
    walk(twin, theirs, grads)
    same(optimizer, twin, rtol=1e-9, atol=1e-12)
    for i, (key, param) in enumerate(start(names=names).items()):
        one = given[i] if anchor == "list" else anchor
        slow = SLOW[name](param.detach(), **BASES[base], **options, anchor=one)
        for values, lr in zip(grads, LRS, strict=True):
            slow.step(values[key], lr)
        np.testing.assert_allclose(ours[key].detach().numpy(), slow.theta, rtol=1e-10, atol=1e-12, err_msg=key)


TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, dtype) for name in CLASSES for dtype in (torch.float32, torch.bfloat16)), ("DiGraP", torch.float16)],
)
def test_other_dtypes(by_triton, name, dtype):
    """Far from the anchors, where rounding cannot change signs; the numbers per tensor are float32."""
    ours, theirs = start(dtype, ("vector", "short")), start(dtype, ("vector", "short"))
    anchors, tolerance = [5 * param.detach() for param in ours.values()], TOLERANCE[dtype]
    optimizer = CLASSES[name](ours.values(), anchor=anchors, fused=True)
    twin = CLASSES[name](theirs.values(), anchor=anchors)
    grads = list(gradients(3))
    walk(optimizer, ours, grads)
    walk(twin, theirs, grads)
    same(optimizer, twin, rtol=10 * tolerance, atol=tolerance)
    for key, param in ours.items():
        torch.testing.assert_close(param, theirs[key], rtol=tolerance, atol=tolerance)


def test_sums_are_of_the_rounded_displacement(by_triton):
    """In bfloat16 δ has three digits; d and n are those of the δ that is stored, in float32."""
    params = start(torch.bfloat16, ("vector", "kernel"))
    anchors = [param.detach() * 1.37 for param in params.values()]
    optimizer = DiGraP(params.values(), anchor=anchors, fused=True)
    walk(optimizer, params, gradients(2))
    for state, param in zip(optimizer.state.values(), params.values(), strict=True):
        delta, grad = state["delta"].double(), param.grad.double()
        projection = (grad * delta).sum() / (delta * delta).sum()
        assert state["projection"].item() == pytest.approx(projection.item(), rel=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_paths_take_turns(by_triton, name):
    """A state dict moves between the paths in the middle of training, and a tensor may lack its gradient in a step."""
    ours, theirs = start(names=FLAT), start(names=FLAT)
    optimizer, twin = CLASSES[name](ours.values()), CLASSES[name](theirs.values())
    for step, values in enumerate(gradients(6)):
        saved = copy.deepcopy(optimizer.state_dict())
        optimizer = CLASSES[name](ours.values())
        optimizer.load_state_dict(saved)
        optimizer.param_groups[0]["fused"] = step % 3 > 0
        for one, params in ((optimizer, ours), (twin, theirs)):
            fill(params, values)
            if step == 2:
                params["short"].grad = params["scalar"].grad = None
            one.step()
    same(optimizer, twin, rtol=1e-9, atol=1e-12)
    assert {float(state["step"]) for state in optimizer.state.values()} == {5.0, 6.0}


def poisoned(values, bad):
    """The gradients with the elements `bad` first in each tensor; one number alone: all of them that large."""
    values = {key: np.array(value) for key, value in values.items()}
    for value in values.values():
        if len(bad) == 1:
            value[...] = bad[0] * np.sign(value)
        else:
            value.flat[: len(bad)] = bad
    return values


@pytest.mark.parametrize("bad", [(1e20,), (float("nan"), float("inf"))])
@pytest.mark.parametrize("name", CLASSES)
def test_numbers_recover_from_a_bad_gradient(by_triton, name, bad):
    """θ is finite wherever it is under AdamW, the numbers per tensor are finite and learn on."""
    params, plain = start(torch.float32, ("vector", "short")), start(torch.float32, ("vector", "short"))
    optimizer = CLASSES[name](params.values(), lr=1e-3, fused=True)
    twin = torch.optim.AdamW(plain.values(), lr=1e-3, weight_decay=0.0)
    learnt = {"FTP": "gamma", "DiGraP": "omega"}.get(name, "")
    for step, values in enumerate(gradients(6)):
        for one, given in ((optimizer, params), (twin, plain)):
            fill(given, poisoned(values, bad) if step == 2 else values)
            one.step()
        numbers = [state[key] for state in optimizer.state.values() for key in optimizer.scalars if key in state]
        assert all(torch.isfinite(number) for number in numbers)
        if learnt:
            moments = [state[f"{learnt}_exp_avg"].item() for state in optimizer.state.values()]
            if step == 3:
                before = moments
    for key, param in params.items():
        assert torch.isfinite(param[torch.isfinite(plain[key])]).all()
    if learnt and bad == (1e20,):
        assert all(a != b for a, b in zip(before, moments, strict=True))


def test_a_displacement_with_denormal_squares_is_not_projected(by_triton):
    param = torch.nn.Parameter(torch.full((20,), 1e-21))
    optimizer = DiGraP([param], anchor="zero", omega=1.0, base="sgd", lr=1e-3, fused=True)
    param.grad = torch.full((20,), -1e-3)
    optimizer.step()
    torch.testing.assert_close(param.detach(), torch.full((20,), 1e-6))


@pytest.mark.parametrize("name", CLASSES)
def test_the_capturable_path_reads_step_and_lr_from_tensors(triton_modules, name):
    """Tensors with different step counts share a bucket; nothing tells the host."""
    ours, theirs = (start(names=("vector", "rows", "short")) for _ in range(2))
    optimizer, twin = CLASSES[name](ours.values()), CLASSES[name](theirs.values())
    optimizer.param_groups[0]["capturable"] = True
    for step, values in enumerate(gradients(4)):
        fill(ours, values)
        fill(theirs, values)
        if step == 1:
            ours["rows"].grad = theirs["rows"].grad = None
        twin.param_groups[0]["lr"] = lr = 0.01 * (step + 1)
        optimizer.param_groups[0]["lr"] = torch.tensor(lr, dtype=torch.float64)
        twin.step()
        given = [param for param in ours.values() if param.grad is not None]
        states = [optimizer.state[param] for param in given]
        bucket = Bucket(given, [param.grad for param in given], states, optimizer.param_groups[0], 0, "triton")
        with torch.no_grad():
            triton_modules[0].step(optimizer, bucket)
    same(optimizer, twin, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(20, 3), (3, 50)], ids=["rows of several programs", "divided rows"])
def test_mars_takes_the_first_of_equal_rows_and_no_row_of_nan(by_triton, shape):
    param = torch.nn.Parameter(torch.ones(shape))
    param.data[0] = 100.0
    param.data[0, 0] = float("nan")
    optimizer = MARSSP([param], lr=1.0, base="sgd", lam=0.25, anchor="zero", fused=True)
    param.grad = torch.zeros(shape)
    expected = param.detach().clone()
    expected[1] = 0.75
    optimizer.step()
    torch.testing.assert_close(param.detach(), expected, rtol=0, atol=0, equal_nan=True)
