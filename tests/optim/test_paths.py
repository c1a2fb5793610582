"""The implementations of a step: each equals the rule's own torch operations, which the references check."""

import copy
import itertools

import pytest
import torch
from torch.nn import Parameter

from digrap.optim import FTP, L2SP, MARSSP, SPD, DiGraP, paths
from digrap.optim.kernels import blocked_units, build, native

# Scalars, vectors, short and long rows, kernels; some larger than a block of these tests.
SHAPES = [
    (),
    (1,),
    (5,),
    (700,),
    (7, 3),
    (40, 8),
    (33, 16),
    (3, 700),
    (4, 3, 2, 2),
    (6, 5, 3, 3),
    (8, 1, 3, 3),
    (5, 3, 7, 7),
]
BASES = {
    "adamw": {"betas": (0.8, 0.95)},
    "sgd": {"base": "sgd"},
    "momentum": {"base": "sgd", "momentum": 0.9},
    "nesterov": {"base": "sgd", "momentum": 0.9, "nesterov": True},
}
RULES = [
    (L2SP, {"lam": 0.2}),
    (MARSSP, {"lam": 0.3}),
    (SPD, {"strength": 0.5}),
    (SPD, {"strength": 1.5}),
    (FTP, {}),
    (FTP, {"k": 0.5, "mu": 0.1}),
    (DiGraP, {"omega": 0.7}),
    (DiGraP, {"omega": 0.7, "rule": "listing"}),
    (DiGraP, {}),
    (DiGraP, {"rule": "listing", "lam": 0.3}),
    (DiGraP, {"normalize": "tensor", "lam": 0.3}),
    (DiGraP, {"normalize": "none"}),
]
CASES = [
    pytest.param(rule, base | options, anchor, id=f"{rule.__name__}-{options}-{name}-{anchor}")
    for (rule, options), (name, base), anchor in itertools.product(RULES, BASES.items(), ("init", "zero"))
]
SWITCHED_OFF = [
    (L2SP, {"lam": 0.0}),
    (MARSSP, {"lam": 0.0}),
    (SPD, {"strength": 0.0}),
    (DiGraP, {"omega": 0.0}),
    (DiGraP, {"omega_max": 0.0}),
    *((rule, {"anchor": "none"}) for rule in (L2SP, MARSSP, SPD, FTP, DiGraP)),
]


@pytest.fixture(params=["native", "blocked"])
def path(request, monkeypatch):
    """A fused implementation, with blocks so small that tensors are cut."""
    if request.param == "blocked":
        monkeypatch.setattr(paths, "library", lambda scalar: None)
    elif build.library("double") is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(native, "BLOCK", 256)
    monkeypatch.setattr(blocked_units, "SMALL", 500)
    monkeypatch.setattr(blocked_units, "BLOCK", 600)
    monkeypatch.setattr(blocked_units, "LONG", 7)
    return request.param


def parameters(dtype, shapes=SHAPES):
    generator = torch.Generator().manual_seed(0)
    return [Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def walk(optimizer, steps, seed=1):
    """Steps away from the anchor, then towards it; one parameter has no gradient once."""
    generator = torch.Generator().manual_seed(seed)
    params = optimizer.param_groups[0]["params"]
    for step in range(steps):
        drift = 0.05 if step < steps / 2 else -0.05
        for param in params:
            noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            param.grad = (0.1 * noise + drift).to(param.dtype)
        if step == 3:
            params[2].grad = None
        optimizer.step()
    return params


def assert_equal_runs(ours, theirs, **tolerance):
    for a, b in zip(ours.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(a, b, **tolerance)
        assert ours.state[a].keys() == theirs.state[b].keys()
        for key, value in ours.state[a].items():
            torch.testing.assert_close(
                value, theirs.state[b][key], msg=lambda text, key=key: f"{key}: {text}", **tolerance
            )


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("rule", "options", "anchor"), CASES)
def test_equals_the_torch_operations(path, rule, options, anchor):
    options = {"lr": 0.01, "weight_decay": 0.05, "anchor": anchor, **options}
    ours, theirs = rule(parameters(torch.float64), **options), rule(parameters(torch.float64), fused=False, **options)
    assert ours.implementation == path
    walk(ours, 8)
    walk(theirs, 8)
    assert_equal_runs(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("rule", "options"), RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes(path, rule, options, dtype):
    """One step from a common state: later ones may differ in a decision that rounding takes."""
    if path == "blocked" and dtype == torch.bfloat16:
        pytest.skip("blocked takes float32 and float64")
    before, after = (
        rule(parameters(dtype), lr=0.01, fused=False, **options),
        rule(parameters(dtype), lr=0.01, **options),
    )
    walk(before, 5)
    after.load_state_dict(copy.deepcopy(before.state_dict()) | {"param_groups": after.state_dict()["param_groups"]})
    for ours, theirs in zip(after.param_groups[0]["params"], before.param_groups[0]["params"], strict=True):
        ours.data.copy_(theirs.data)
    assert after.implementation == path
    walk(after, 1)
    walk(before, 1)
    exact = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    for ours, theirs in zip(after.param_groups[0]["params"], before.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(ours, theirs, **exact)


@pytest.mark.parametrize(("rule", "options"), SWITCHED_OFF)
@pytest.mark.parametrize("base", BASES)
def test_switched_off_it_is_torch_fused(path, rule, options, base):
    """Blocked calls torch's kernels: equal bits. The compiled kernels round as they do but for the last bit."""
    common = {"lr": 0.01, "weight_decay": 0.05} | {k: v for k, v in BASES[base].items() if k != "base"}
    plain = torch.optim.AdamW if base == "adamw" else torch.optim.SGD
    extra = {} if base == "adamw" else {"base": "sgd"}
    ours, theirs = (
        rule(parameters(torch.float32), **common, **extra, **options),
        plain(parameters(torch.float32), fused=True, **common),
    )
    walk(ours, 6)
    walk(theirs, 6)
    exact = path == "blocked" or options == {"anchor": "none"}
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-6, "atol": 1e-7}
    for a, b in zip(ours.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_results_do_not_depend_on_the_number_of_threads(path):
    if path == "blocked":
        pytest.skip("torch's own sums depend on it")
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            runs.append(DiGraP(parameters(torch.float32), lr=0.01))
            walk(runs[-1], 6)
    finally:
        torch.set_num_threads(before)
    assert_equal_runs(*runs, rtol=0, atol=0)


@pytest.mark.parametrize("rule", [L2SP, MARSSP, SPD, FTP, DiGraP])
def test_a_run_changes_its_implementation(path, rule):
    """State is exchangeable: half the steps by one, half by the other."""
    mixed, whole = rule(parameters(torch.float64), lr=0.01), rule(parameters(torch.float64), lr=0.01, fused=False)
    for fused in (None, False, None):
        mixed.param_groups[0]["fused"] = fused
        for optimizer in (mixed, whole):
            walk(optimizer, 3, seed=3)
    assert_equal_runs(mixed, whole, rtol=1e-9, atol=1e-11)


def test_the_choice(path):
    assert DiGraP(parameters(torch.float32)).implementation == path
    assert DiGraP(parameters(torch.float32), fused=True).implementation == path
    assert DiGraP(parameters(torch.float32), fused=False).implementation == "foreach"
    assert DiGraP(parameters(torch.float32), foreach=True).implementation == "foreach"
    assert DiGraP(parameters(torch.float32), foreach=False).implementation == "loop"
    assert DiGraP(parameters(torch.float16)).implementation == "foreach"
    mixed = [*parameters(torch.float32, [(2, 3)]), Parameter(torch.zeros(4, 6).t()), *parameters(torch.float16, [(2,)])]
    assert DiGraP(mixed).implementation == f"{path} 1, foreach 2" if path == "blocked" else f"foreach 2, {path} 1"


def test_not_contiguous_takes_the_torch_operations(path):
    ours, theirs = ([Parameter(torch.arange(12.0).view(3, 4).t() / 7)] for _ in range(2))
    optimizers = DiGraP(ours, lr=0.01), DiGraP(theirs, lr=0.01, fused=False)
    for optimizer in optimizers:
        walk_one(optimizer)
    assert torch.equal(ours[0], theirs[0])


def walk_one(optimizer):
    (param,) = optimizer.param_groups[0]["params"]
    for step in range(4):
        param.grad = torch.full_like(param, (-1.0) ** step)
        optimizer.step()


def test_fused_is_refused_where_there_is_none():
    class Own(DiGraP):
        def adjust_gradients(self, bucket):
            return bucket.grads

    params = parameters(torch.float32, [(2, 3)])
    assert Own(params).implementation == "foreach"
    with pytest.raises(RuntimeError, match="fused=True: Own has no fused implementation on cpu"):
        walk(Own(params, fused=True), 1)
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
        DiGraP(params, fused=True, foreach=True)


@pytest.mark.parametrize("rule", [L2SP, MARSSP, SPD, FTP, DiGraP])
def test_a_graph_of_before_the_step_is_refused(path, rule):
    """As after AdamW: a backward pass that needs parameters of before the step raises, and is not silently wrong."""
    weight = Parameter(torch.ones(3, 3))
    optimizer = rule([weight])
    loss = (weight @ weight).sum()
    weight.grad = torch.ones(3, 3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(("rule", "kept"), [(FTP, "candidate"), (DiGraP, "delta")])
@pytest.mark.parametrize("between", ["native", "edit"])
def test_blocked_forgets_what_others_change(monkeypatch, rule, kept, between):
    """It keeps numbers of the rows of a state tensor: a native step and whoever writes to the tensor outdate them."""
    monkeypatch.setattr(blocked_units, "SMALL", 500)
    ours, theirs = rule(parameters(torch.float64), lr=0.01), rule(parameters(torch.float64), lr=0.01, fused=False)
    for path in ("blocked", between, "blocked"):
        if between == "edit":
            for state in (*ours.state.values(), *theirs.state.values()):
                state[kept].mul_(1 + state["anchor"].abs())
        with paths.implementations("native" if path == "native" else "blocked"):
            walk(ours, 3)
        walk(theirs, 3)
    assert_equal_runs(ours, theirs, rtol=1e-9, atol=1e-11)
