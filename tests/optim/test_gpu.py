"""Every rule on a GPU, by Triton's kernels and by torch operations: against the float64 references, without waiting for
the host, in a CUDA graph, to the same bits each time. Skipped without a GPU."""

from functools import partial

import numpy as np
import pytest
import torch

from digrap.cli.bench.measures import peak_bytes
from digrap.optim import DiGraP
from tests.optim import interpreted
from tests.optim.interpreted import CLASSES, LRS, fill, walk
from tests.optim.test_triton import BASES, FLAT, TOLERANCE, cases
from tests.reference import RULES as SLOW

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
# With tiles of 1,024 elements and programs of 8,192: one number; a divided vector; many short rows; rows of a
# transformer; rows that several programs share; a convolution's kernel, whose rows are strided.
SHAPES = {
    "scalar": (), "vector": (20_001,), "short": (999, 3), "rows": (40, 768), "long": (2, 70_000),
    "kernel": (30, 50, 3, 3),
}  # fmt: skip
PATHS = {"triton": {"fused": True}, "foreach": {"fused": False}, "loop": {"foreach": False}}
WAYS = [pytest.param(name, PATHS[path], id=f"{name}-{path}") for name in CLASSES for path in PATHS]


start = partial(interpreted.start, shapes=SHAPES, device="cuda")
gradients = partial(interpreted.gradients, shapes=SHAPES)


def refill(params, values):
    """Write the gradients into the tensors that are there, where a graph looks for them."""
    for name, param in params.items():
        param.grad.copy_(torch.tensor(values[name]))


def warm(name, dtype=torch.float32, **options):
    """An optimizer after two steps, its parameters and the gradients of two more."""
    params, grads = start(dtype), list(gradients(4))
    optimizer = CLASSES[name](params.values(), **options)
    walk(optimizer, params, grads[:2])
    return optimizer, params, grads[2:]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("name", "options", "base", "anchor"), list(cases()))
def test_equals_the_reference(name, options, base, anchor, path):
    names = FLAT if name in ("L2SP", "SPD") else None
    params, grads = start(names=names), list(gradients(4))
    first = {key: param.detach().cpu() for key, param in params.items()}
    given = [1.2 * param.detach() + 0.3 for param in params.values()] if anchor == "list" else anchor
    optimizer = CLASSES[name](params.values(), anchor=given, **BASES[base], **options, **PATHS[path])
    assert optimizer.implementation == path
    walk(optimizer, params, grads)
    for i, (key, param) in enumerate(first.items()):
        one = given[i].cpu() if anchor == "list" else anchor
        slow = SLOW[name](param, **BASES[base], **options, anchor=one)
        for values, lr in zip(grads, LRS, strict=True):
            slow.step(values[key], lr)
        found = params[key].detach().cpu().numpy()
        np.testing.assert_allclose(found, slow.theta, rtol=1e-9, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CLASSES)
def test_other_dtypes_equal_torch_operations(name, dtype):
    """Far from the anchors, where rounding cannot change signs, and with gradients whose squares float16 can hold."""
    ours, theirs = start(dtype), start(dtype)
    anchors, tolerance = [5 * param.detach() for param in ours.values()], TOLERANCE[dtype]
    optimizer = CLASSES[name](ours.values(), anchor=anchors, fused=True)
    twin = CLASSES[name](theirs.values(), anchor=anchors, fused=False)
    grads = [{key: value + 0.3 * np.sign(value) for key, value in values.items()} for values in gradients(3)]
    walk(optimizer, ours, grads)
    walk(twin, theirs, grads)
    for key, param in ours.items():
        torch.testing.assert_close(param, theirs[key], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_a_step_does_not_wait_for_the_gpu(name, options):
    optimizer, params, grads = warm(name, **options)
    fill(params, grads[0])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_the_same_bits_each_time(name, options):
    results = []
    for _ in range(2):
        optimizer, params, grads = warm(name, **options)
        walk(optimizer, params, grads)
        results.append([*params.values(), *(state["step"] for state in optimizer.state.values())])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_a_cuda_graph_repeats_the_step(name, options):
    """Replayed with other gradients and other learning rates, it is the ordinary step."""
    rate = torch.tensor(LRS[0], dtype=torch.float64, device="cuda")
    captured, ordinary = start(), start()
    away = [param.detach() * 0.5 for param in ordinary.values()]
    optimizer = CLASSES[name](captured.values(), lr=rate, anchor=away, capturable=True, **options)
    twin = CLASSES[name](ordinary.values(), lr=LRS[0], anchor=away, fused=False)
    grads, stream = list(gradients(7)), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        fill(captured, grads[0])
        for values in grads[:3]:
            refill(captured, values)
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step, values in enumerate(grads):
        lr = LRS[0] if step < 3 else LRS[step % len(LRS)]
        fill(ordinary, values)
        twin.param_groups[0]["lr"] = lr
        twin.step()
        if step >= 3:
            refill(captured, values)
            rate.fill_(lr)
            graph.replay()
    for key, param in captured.items():
        torch.testing.assert_close(param, ordinary[key], rtol=1e-4, atol=1e-6)  # torch's bias corrections are float32
    assert {float(state["step"]) for state in optimizer.state.values()} == {7.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "options"), WAYS)
def test_a_step_takes_little_memory(name, options, dtype):
    params = [torch.nn.Parameter(torch.randn(1024, 1024, device="cuda").to(dtype)) for _ in range(40)]
    optimizer = CLASSES[name](params, **options)
    for _ in range(2):
        for param in params:
            param.grad = torch.randn_like(param)
        optimizer.step()
    found, one = peak_bytes(optimizer.step, torch.device("cuda")), params[0].nbytes
    if "foreach" in options:
        assert found <= (3 if dtype == torch.float32 else 5) * one * 1.1
    else:
        assert found <= (1 if options["fused"] else 0.5 * len(params)) * one


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_a_grad_scaler_skips_a_step_that_overflows(name, options):
    optimizer, params, grads = warm(name, **options)
    scaler = torch.amp.GradScaler("cuda", init_scale=4.0)
    before = [param.detach().clone() for param in params.values()]
    for bad in (True, False):
        fill(params, {key: 4 * value for key, value in grads[0].items()})
        if bad:
            params["vector"].grad[7] = torch.inf
        scaler.scale(torch.ones((), device="cuda"))  # makes its numbers, on the GPU
        scaler.step(optimizer)
        scaler.update()
        changed = [not torch.equal(a, b) for a, b in zip(params.values(), before, strict=True)]
        assert any(changed) != bad
    assert scaler.get_scale() == 2.0


def test_low_memory_equals_the_ordinary_step():
    ours, theirs, grads = start(), start(), list(gradients(6))
    walk(DiGraP(ours.values(), low_memory=True), ours, grads)
    walk(DiGraP(theirs.values(), fused=False), theirs, grads)
    for key, param in ours.items():
        torch.testing.assert_close(param, theirs[key], rtol=1e-8, atol=1e-10)
