"""Properties for any shapes, groups and options (hypothesis): equality with the reference, and bounds."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import digrap.optim as fast
from digrap.optim import DiGraP
from tests.reference import RULES as SLOW

SHAPES = st.lists(st.integers(1, 4), max_size=4).map(tuple)
RULES = st.fixed_dictionaries(
    {
        "rule": st.sampled_from(["conflict", "listing"]),
        "normalize": st.sampled_from(["rows", "tensor", "none"]),
        "anchor": st.sampled_from(["init", "zero", "none"]),
        "mu": st.floats(0, 1),
        "lam": st.floats(0, 0.5),
        "omega": st.none() | st.floats(0, 1),
        "weight_decay": st.floats(0, 0.3),
    }
)
BASES = st.one_of(
    st.fixed_dictionaries({"base": st.just("adamw"), "betas": st.tuples(st.floats(0.5, 0.95), st.floats(0.8, 0.999))}),
    st.fixed_dictionaries({"base": st.just("sgd"), "momentum": st.floats(0.1, 0.95), "nesterov": st.booleans()}),
)
ANCHOR = {"anchor": st.sampled_from(["init", "zero", "none"]), "weight_decay": st.floats(0, 0.3)}
OPTIONS = {
    "DiGraP": RULES,
    "L2SP": st.fixed_dictionaries({**ANCHOR, "lam": st.floats(0, 1)}),
    "MARSSP": st.fixed_dictionaries({**ANCHOR, "lam": st.floats(0, 1)}),
    "SPD": st.fixed_dictionaries({**ANCHOR, "strength": st.floats(0, 2)}),
    "FTP": st.fixed_dictionaries({**ANCHOR, "k": st.floats(0, 1), "mu": st.floats(0, 0.5)}),
}


def groups_of(options):
    """Up to three groups: (shapes, options of the rule, options of the base, lr, frozen). Groups may be empty."""
    group = st.tuples(st.lists(SHAPES, max_size=3), options, BASES, st.floats(1e-4, 0.05), st.booleans())
    return st.lists(group, min_size=1, max_size=3)


LAYOUTS = st.sampled_from(sorted(OPTIONS)).flatmap(lambda name: st.tuples(st.just(name), groups_of(OPTIONS[name])))


@settings(max_examples=150, deadline=None)
@given(layout=LAYOUTS, seed=st.integers(0, 2**32 - 1), absent=st.integers(2, 6))
def test_any_layout_equals_the_reference(layout, seed, absent):
    """Each parameter equals its own reference. It lacks a gradient in every `absent`-th turn, a frozen one in all;
    groups are added between turns."""
    name, groups = layout
    rng = np.random.default_rng(seed)
    optimizer, pairs = None, []
    for turn in range(8):
        if turn < len(groups):
            shapes, rule, base, lr, frozen = groups[turn]
            params = [torch.nn.Parameter(torch.tensor(rng.standard_normal(shape))) for shape in shapes]
            pairs += [(param, SLOW[name](param.detach(), **rule, **base), lr, frozen) for param in params]
            group = {"params": params, "lr": lr, **rule, **base}
            if optimizer is None:
                optimizer = getattr(fast, name)([group])
            else:
                optimizer.add_param_group(group)
        for position, (param, slow, lr, frozen) in enumerate(pairs):
            present = not frozen and (turn + position) % absent != 0
            grad = rng.standard_normal(param.shape)
            param.grad = torch.tensor(grad) if present else None
            if present:
                slow.step(grad, lr)
        optimizer.step()
        for param, slow, *_ in pairs:
            np.testing.assert_allclose(param.detach().numpy(), slow.theta, rtol=1e-8, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, rule=RULES, seed=st.integers(0, 2**32 - 1))
def test_omega_stays_in_its_range_and_the_projection_adds_no_energy(shape, rule, seed):
    """0 ≤ ω ≤ ω_max, and with ω ≤ 1 no step increases ‖g‖²."""
    rng = np.random.default_rng(seed)
    param = torch.nn.Parameter(torch.tensor(rng.standard_normal(shape)))
    optimizer = DiGraP([("p", param)], lr=0.05, **rule)
    for _ in range(10):
        param.grad = torch.tensor(rng.standard_normal(shape))
        optimizer.step()
        for entry in optimizer.omega_report().values():
            assert 0 <= entry["omega"] <= 1
            assert -1e-9 <= entry["removed"] <= 1 + 1e-9
            assert 0 <= entry["conflict"] <= 1


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_full_projection_leaves_no_push_from_the_anchor(shape, seed, scale):
    """With ω = 1 a plain SGD step in a conflict leaves <θ − θ0, δ> unchanged."""
    rng = np.random.default_rng(seed)
    start, anchor = rng.standard_normal(shape), rng.standard_normal(shape)
    param = torch.nn.Parameter(torch.tensor(start))
    optimizer = DiGraP([param], lr=0.1, base="sgd", omega=1.0, anchor=[torch.tensor(anchor)])
    delta = start - anchor
    grad = rng.standard_normal(shape) * scale
    grad = grad if np.sum(grad * delta) < 0 else -grad
    param.grad = torch.tensor(grad)
    optimizer.step()
    moved = param.detach().numpy() - start
    size = max(np.linalg.norm(moved) * np.linalg.norm(delta), 1e-12 * scale)
    assert abs(np.sum(moved * delta)) <= 1e-10 * max(size, scale * np.linalg.norm(delta))
