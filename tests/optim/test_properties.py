"""Hypothesis: any shapes, groups and settings, against the reference or against what must coincide."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.optim import DiGraP
from tests.reference.digrap import DiGraP as Reference

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
GROUPS = st.lists(
    st.tuples(st.lists(SHAPES, max_size=3), RULES, BASES, st.floats(1e-4, 0.05)), min_size=1, max_size=3
)  # an empty list of shapes is an empty group


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS, seed=st.integers(0, 2**32 - 1), absent=st.integers(2, 6))
def test_any_layout_equals_the_reference(groups, seed, absent):
    """Each parameter follows its own reference; every `absent`-th turn it has no gradient; one group is added late."""
    rng = np.random.default_rng(seed)
    optimizer, pairs = None, []
    for turn in range(8):
        if turn < len(groups):
            shapes, rule, base, lr = groups[turn]
            params = [torch.nn.Parameter(torch.tensor(rng.standard_normal(shape))) for shape in shapes]
            pairs += [(param, Reference(param.detach(), **rule, **base), lr) for param in params]
            group = {"params": params, "lr": lr, **rule, **base}
            if optimizer is None:
                optimizer = DiGraP([group])
            else:
                optimizer.add_param_group(group)
        for position, (param, slow, lr) in enumerate(pairs):
            present = (turn + position) % absent != 0
            grad = rng.standard_normal(param.shape)
            param.grad = torch.tensor(grad) if present else None
            if present:
                slow.step(grad, lr)
        optimizer.step()
        for param, slow, _ in pairs:
            np.testing.assert_allclose(param.detach().numpy(), slow.theta, rtol=1e-8, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, rule=RULES, seed=st.integers(0, 2**32 - 1))
def test_omega_stays_in_its_range_and_the_projection_only_takes(shape, rule, seed):
    """0 ≤ ω ≤ ω_max, and with ω ≤ 1 no step adds gradient energy."""
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
    """With ω = 1 a plain SGD step from a conflict keeps <θ − θ0, δ> as it was."""
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
