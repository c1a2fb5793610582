"""L2-SP, MARS-SP, SPD and FTP against their float64 references and, switched off, against torch's own optimizers."""

import numpy as np
import pytest
import torch

import digrap.optim as fast
from tests.optim.walk import BASES, STEPS, gradients, lr_at, run, start
from tests.reference import RULES as SLOW

OPTIONS = [
    ("L2SP", {"lam": 0.2}),
    ("MARSSP", {"lam": 0.3}),
    ("SPD", {"strength": 0.5}),
    ("SPD", {"strength": 1.5}),
    ("FTP", {}),
    ("FTP", {"k": 0.5, "mu": 0.1}),
    ("FTP", {"k": 0.0, "mu": 0.03}),
]
EVERY = [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in OPTIONS]


def references(name, params, anchor, anchors, **options):
    """One reference per parameter."""
    chosen = {key: anchors[key] if anchor == "list" else anchor for key in params}
    return {key: SLOW[name](param.detach().double(), anchor=chosen[key], **options) for key, param in params.items()}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("name", "options"), EVERY)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("anchor", ["init", "zero", "list", "none"])
def test_equals_the_reference(name, options, base, anchor):
    params = start()
    # No two rows of δ are equal up to rounding, which would decide between them.
    anchors = {k: v.detach() + torch.linspace(0.2, 0.4, v.numel()).view(v.shape) for k, v in params.items()}
    slow = references(name, params, anchor, anchors, **BASES[base], **options)
    given = list(anchors.values()) if anchor == "list" else anchor
    optimizer = getattr(fast, name)(params.items(), anchor=given, **BASES[base], **options)
    grads, events = list(gradients(params)), set()

    def compare(step):
        for key, param in params.items():
            slow[key].step(grads[step][key], lr_at(step))
            np.testing.assert_allclose(param.detach().numpy(), slow[key].theta, rtol=1e-10, atol=1e-12, err_msg=key)
        events.add(getattr(slow["kernel"], "shrunk", None))
        if name == "FTP" and anchor != "none" and step:
            sums = slow["kernel"].s
            events.add((slow["kernel"].gamma > 1e-8, min(sums) < slow["kernel"].gamma < max(sums)))

    run(optimizer, params, grads, compare)
    # The test is only meaningful if the rule changed something.
    if anchor != "none" and name == "SPD":
        assert True in events
    if anchor != "none" and name == "FTP" and options:
        assert (True, True) in events, "the bound never cut some rows only"


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_float32_stays_close_to_the_reference(name, options):
    """Far from the anchors, where rounding cannot change the largest row or the signs of δ."""
    params = start(dtype=torch.float32)
    anchors = {key: 5 * value.detach() for key, value in start(7, torch.float32).items()}
    slow = references(name, params, "list", anchors, **options)
    grads = list(gradients(params))
    run(getattr(fast, name)(params.values(), anchor=list(anchors.values()), **options), params, grads)
    for key, param in params.items():
        for step, values in enumerate(grads):
            slow[key].step(values[key].astype(np.float32), lr_at(step))
        np.testing.assert_allclose(param.detach().numpy(), slow[key].theta, rtol=1e-5, atol=1e-5)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "options"),
    [("L2SP", {"lam": 0.0}), ("MARSSP", {"lam": 0.0}), ("SPD", {"strength": 0.0}), ("FTP", {"mu": 0.0}),
     *[(name, {"anchor": "none"}) for name in ("L2SP", "MARSSP", "SPD", "FTP")],
     *[(name, {"anchor": "zero", **off}) for name, off in
       (("L2SP", {"lam": 0.0}), ("MARSSP", {"lam": 0.0}), ("SPD", {"strength": 0.0}), ("FTP", {"mu": 0.0}))]],
    ids=str,
)  # fmt: skip
def test_switched_off_it_is_torch_bit_for_bit(foreach, base, dtype, name, options):
    ours, theirs = start(dtype=dtype), start(dtype=dtype)
    common = {key: value for key, value in BASES[base].items() if key != "base"}
    optimizer = getattr(fast, name)(ours.values(), **BASES[base], **options, foreach=foreach, fused=False)

    def beyond_all_norms(step):
        for state in optimizer.state.values():
            if "gamma" in state:
                state["gamma"].fill_(1e6)

    beyond_all_norms(None)
    run(optimizer, ours, gradients(ours, steps=30), beyond_all_norms)
    plain = torch.optim.AdamW if BASES[base]["base"] == "adamw" else torch.optim.SGD
    run(plain(theirs.values(), lr=1e-3, **common, foreach=foreach), theirs, gradients(theirs, steps=30))
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key


def test_ftp_starts_at_its_anchor():
    """γ = 1e-8 at the first step: nearly all of the step is projected away."""
    params = start()
    before = {key: value.detach().clone() for key, value in params.items()}
    run(fast.FTP(params.values()), params, gradients(params, steps=1))
    for key, param in params.items():
        torch.testing.assert_close(param.detach(), before[key], rtol=0, atol=1.1e-8)


def test_mars_takes_the_first_of_equal_rows():
    param = torch.nn.Parameter(torch.tensor([[1.0, -1.0], [2.0, 0.0], [0.5, 0.5]]))
    optimizer = fast.MARSSP([param], lr=1.0, base="sgd", lam=0.25, anchor="zero")
    param.grad = torch.zeros(3, 2)
    optimizer.step()
    assert param.tolist() == [[0.75, -0.75], [2.0, 0.0], [0.5, 0.5]]


def test_l2sp_leaves_weight_decay_to_a_head():
    """The penalty applies to anchored tensors; a head without anchor gets the weight decay of its group."""
    body, head = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [body]}, {"params": [head], "anchor": "none", "weight_decay": 0.5}]
    optimizer = fast.L2SP(groups, lr=0.1, base="sgd", lam=10.0)
    for param in (body, head):
        param.grad = torch.zeros(2)
    optimizer.step()
    assert torch.equal(body.detach(), torch.ones(2))
    torch.testing.assert_close(head.detach(), torch.full((2,), 0.95))


def test_the_walk_is_long_enough():
    assert STEPS >= 60
