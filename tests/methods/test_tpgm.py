"""TPGM against its float64 reference; the gradient of the constraints against finite differences."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from digrap.methods.method import Context
from digrap.methods.tpgm import TPGM, TPGMOnce
from tests.reference.tpgm import TPGM as Reference

DATA = torch.Generator().manual_seed(0)
BATCHES = [
    (torch.randn(6, 3, generator=DATA, dtype=torch.float64), torch.randn(6, 2, generator=DATA, dtype=torch.float64))
    for _ in range(5)
]


class Net(torch.nn.Module):
    """A matrix, vectors, a kernel and a scalar; `head` stands for a fresh head."""

    def __init__(self, seed=0, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(seed)
        self.body = torch.nn.Linear(3, 4)
        self.kernel = torch.nn.Conv1d(1, 2, 2)
        self.scale = torch.nn.Parameter(torch.tensor(0.7))
        self.head = torch.nn.Linear(6, 2)
        self.to(dtype)

    def forward(self, x):
        x = torch.tanh(self.body(x.to(self.scale.dtype)))
        return self.head(self.scale * self.kernel(x[:, None]).flatten(1))


ANCHORED = ("body.weight", "body.bias", "kernel.weight", "kernel.bias", "scale")


class HeldOut:
    """Held-out batches by number."""

    def __init__(self, module):
        self.module = module

    def __call__(self, weights, index):
        inputs, labels = BATCHES[index % len(BATCHES)]
        output = torch.func.functional_call(self.module, weights, (inputs,))
        return mse_loss(output, labels.to(output.dtype))

    def gradient(self, weights, wrt, index):
        return torch.autograd.grad(self(weights(), index), [wrt])[0]


def context_of(module, anchor="init", unanchored=("head.weight", "head.bias")):
    before = {name: value.detach().clone() for name, value in module.state_dict().items()}
    return Context(module, before, frozenset(unanchored), anchor, HeldOut(module))


def move(module, step, scale=0.2):
    """A random change of all parameters, in place of an optimizer step."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for param in module.parameters():
            param += scale * torch.randn(param.shape, generator=generator, dtype=torch.float64).to(param.dtype)


def slope_of(module):
    """The gradient of a batch's loss at given weights, by torch."""

    def slope(weights, index):
        tensors = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
        grads = torch.autograd.grad(HeldOut(module)(tensors, index), list(tensors.values()))
        return {name: grad.numpy() for name, grad in zip(tensors, grads, strict=True)}

    return slope


@pytest.mark.parametrize("norm", ["mars", "l2"])
@pytest.mark.parametrize("anchor", ["init", "zero"])
@pytest.mark.parametrize(("proj_freq", "max_iters"), [(1, 1), (3, 2), (100, 1)])
def test_equals_the_reference(norm, anchor, proj_freq, max_iters):
    module = Net()
    context = context_of(module, anchor)
    options = dict(norm=norm, proj_freq=proj_freq, proj_lr=0.05, max_iters=max_iters)
    names = ANCHORED
    anchors = {name: context.before[name].numpy() * (anchor == "init") for name in names}
    slow, fast = Reference(anchors, slope_of(module), **options), TPGM(**options)(context)
    cut = set()
    for step in range(1, 61):
        move(module, step)
        theta = {name: module.get_parameter(name).detach().numpy().copy() for name in names}
        expected = slow.project(theta, step)
        head = module.head.weight.detach().clone()
        fast(step)
        for name in names:
            found = module.get_parameter(name).detach().numpy()
            np.testing.assert_allclose(found, expected[name], rtol=1e-10, atol=1e-12, err_msg=f"{step} {name}")
            cut.add(not np.allclose(found, theta[name]))
        assert torch.equal(module.head.weight, head)
    assert True in cut, "nothing was projected"


@pytest.mark.parametrize("norm", ["mars", "l2"])
def test_float32_stays_close_to_the_reference(norm):
    """Both take the same θ at every step; each has its own γ."""
    module, exact = Net(dtype=torch.float32), Net()
    exact.load_state_dict(module.state_dict())
    options = dict(norm=norm, proj_freq=1, proj_lr=0.05, max_iters=1)
    fast, slow = TPGM(**options)(context_of(module)), TPGM(**options)(context_of(exact))
    for step in range(1, 61):
        move(module, step)
        exact.load_state_dict(module.state_dict())
        fast(step), slow(step)
        for (name, found), expected in zip(module.named_parameters(), exact.parameters(), strict=True):
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5, msg=f"{step} {name}")


@pytest.mark.parametrize("norm", ["mars", "l2"])
def test_the_constraints_gradient_by_finite_differences(norm):
    module = Net()
    context = context_of(module)
    projection = TPGM(norm=norm, proj_freq=1, proj_lr=0.1, max_iters=1)(context)
    move(module, 1)
    deltas = {name: param.detach() - projection.anchors[name] for name, param in projection.params.items()}
    norms = [projection._norms(delta) for delta in deltas.values()]
    projection._set(torch.stack([s.mean() * 0.7 for s in norms]))
    (gradient,) = torch.autograd.grad(context.held_out(projection.projected(deltas, norms), 0), [projection.gamma])
    assert (gradient.abs() > 1e-6).all()
    for index in range(len(norms)):
        losses = []
        for sign in (1, -1):
            shifted = projection.gamma.detach().clone()
            shifted[index] += sign * 1e-6
            other = copy.copy(projection)
            other.gamma = shifted
            losses.append(context.held_out(other.projected(deltas, norms), 0).item())
        assert gradient[index].item() == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4)


def test_state_resumes_bit_for_bit():
    options = dict(norm="mars", proj_freq=2, proj_lr=0.05, max_iters=1)
    whole = Net()
    straight = TPGM(**options)(context_of(whole))
    cut = Net()
    first = TPGM(**options)(context_of(cut))
    for step in range(1, 8):
        move(whole, step), straight(step)
        move(cut, step), first(step)
    resumed = TPGM(**options)(context_of(cut))
    resumed.anchors = first.anchors  # the engine takes them from the pre-trained model again
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(8, 15):
        move(whole, step), straight(step)
        move(cut, step), resumed(step)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))


def test_once_learns_bounds_that_help():
    """After enough held-out batches the projected model is no worse on them than the one before the projection."""
    module = Net()
    context = context_of(module, unanchored=())
    move(module, 1, scale=1.0)
    loss = lambda: sum(context.held_out({}, k).item() for k in range(len(BATCHES)))  # noqa: E731
    before = loss()
    (variant,) = TPGMOnce(norm="mars", proj_lr=0.05, max_iters=100)(context)
    module.load_state_dict(variant.weights)
    assert variant.chosen and loss() < before


@pytest.mark.parametrize("anchor", ["init", "zero"])
def test_what_did_not_change_may_be_missing(anchor):
    """Values outside of `before` are the pre-trained ones: the rest is projected as if they were given, and the variant
    holds what has a value in `before` or is projected."""
    weights = []
    for known in (None, ("scale", "head.weight", "head.bias", "kernel.weight")):
        module = Net()
        context = context_of(module, anchor)
        with torch.no_grad():
            module.kernel.weight.mul_(1.5), module.scale.mul_(1.2)
        if known:
            context.before = {name: context.before[name] for name in known}
        (variant,) = TPGMOnce(norm="mars", proj_lr=0.05, max_iters=20)(context)
        weights.append(variant.weights)
    whole, part = weights
    assert set(part) == (set(known) if anchor == "init" else set(known) | set(ANCHORED))
    assert all(torch.equal(value, whole[name]) for name, value in part.items())
    assert not torch.equal(part["kernel.weight"], Net().kernel.weight * 1.5), "nothing was projected"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"norm": "l1"}, "norm='l1' is not one of 'mars', 'l2'"), ({"proj_lr": -1}, "Invalid proj_lr"),
     ({"proj_freq": 0}, "proj_freq=0: give a whole number"), ({"max_iters": 1.5}, "max_iters=1.5: give a whole")],
)  # fmt: skip
def test_bad_options(changes, message):
    with pytest.raises(ValueError, match=message):
        TPGM(**{"norm": "mars", "proj_freq": 1, "proj_lr": 0.1, "max_iters": 1} | changes)


def test_a_model_without_anchors_is_refused():
    module = Net()
    with pytest.raises(ValueError, match="no trained parameter has an anchor"):
        TPGM(norm="mars", proj_freq=1, proj_lr=0.1, max_iters=1)(
            context_of(module, unanchored=dict(module.state_dict()))
        )


def test_a_loss_that_is_not_finite_is_refused():
    module = Net()
    context = context_of(module)
    context.held_out.gradient = lambda weights, wrt, index: torch.full_like(wrt, float("nan"))
    with pytest.raises(ValueError, match="is not finite"):
        next(TPGMOnce(norm="mars", proj_lr=0.05, max_iters=2)(context))


def test_the_l2_norm_of_a_large_float32_tensor_is_accurate():
    """torch's own vector norm of it is off by 3e-5."""
    net = torch.nn.Linear(1600, 1500, bias=False)
    before = {"weight": torch.zeros(1500, 1600)}
    projection = TPGM(norm="l2", proj_freq=1, proj_lr=0.1, max_iters=1)(
        Context(module=net, unanchored=(), anchor="init", before=before, held_out=None)
    )
    delta = net.weight.detach()
    assert float(projection._norms(delta)) == pytest.approx(float(delta.double().norm()), rel=1e-6)
