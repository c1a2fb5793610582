"""What the Triton path keeps between steps, what a CUDA graph needs of it, and its kernels as machine code."""

import os
import subprocess
import sys

import pytest
import torch

from digrap.optim import L2SP
from digrap.optim.bucket import Bucket
from tests.optim.interpreted import gradients, start, walk

pytest.importorskip("triton", reason="Triton is for Linux with a GPU build of torch")


def test_a_capture_has_tables_of_its_own(by_triton, monkeypatch):
    """Addresses are written when one changed; those of a capture never again, as its graph reads them later."""
    params = start(names=("vector", "short"))
    optimizer = L2SP(params.values(), fused=True)
    grads = list(gradients(4))
    walk(optimizer, params, grads[:1])
    (first,) = optimizer._triton_plans.values()
    table = first.addresses
    optimizer.step()
    assert first.addresses is table, "the tensors are where they were"
    monkeypatch.setattr(by_triton[1], "capturing", lambda device: True)
    with pytest.raises(RuntimeError, match=r"can capture L2SP.step\(\) only with capturable=True"):
        optimizer.step()
    group = optimizer.param_groups[0]
    group["capturable"] = True  # AnchoredOptimizer refuses it on a CPU, so the kernels' own step is called
    given = list(params.values())
    bucket = Bucket(given, [param.grad for param in given], [optimizer.state[param] for param in given], group, 0)
    for _ in range(2):
        with torch.no_grad():
            by_triton[0].step(optimizer, bucket)
    *_, captured, second = optimizer._triton_plans.values()
    kept = captured.addresses.clone()
    assert captured is not second is not first
    monkeypatch.setattr(by_triton[1], "capturing", lambda device: False)
    group["capturable"] = False
    for names in (["vector"], ["short"], [], ["vector"]):  # other lists of tensors, fresh gradients elsewhere
        for _ in range(2):
            walk(optimizer, params, grads[:1])
            for name in names:
                params[name].grad = None
            optimizer.step()
    assert captured in optimizer._triton_plans.values()
    assert torch.equal(captured.addresses, kept)


def test_few_plans_are_kept(by_triton):
    params = [torch.nn.Parameter(torch.zeros(2)) for _ in range(9)]
    optimizer = L2SP([{"params": params[:8]}, {"params": params[8:]}], fused=True)
    for count in range(1, 9):
        for param in params:
            param.grad = None
        for param in [*params[:count], params[8]]:
            param.grad = torch.zeros(2)
            optimizer.state[param]["step"].zero_()
        optimizer.step()
    assert len(optimizer._triton_plans) == 2 * by_triton[1].KEPT
    plans = set(optimizer._triton_plans.values())
    optimizer.step()
    assert set(optimizer._triton_plans.values()) == plans, "groups that take turns throw each other's plans away"


def test_the_step_count_must_be_on_the_device(by_triton):
    param = torch.nn.Parameter(torch.zeros(3))
    optimizer = L2SP([param], fused=True)
    optimizer.param_groups[0]["capturable"] = True
    optimizer.state[param]["step"] = torch.zeros((), device="meta")
    bucket = Bucket([param], [param.detach()], [optimizer.state[param]], optimizer.param_groups[0], 0, "triton")
    with pytest.raises(RuntimeError, match="needs the state's step on cpu"):
        by_triton[0].step(optimizer, bucket)


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(tmp_path):
    """Down to machine code, without a GPU; in a process of its own, where the kernels are not interpreted."""
    from triton.backends.nvidia.compiler import get_ptxas

    try:
        get_ptxas(90)
    except Exception as error:
        pytest.skip(f"Triton's assembler for NVIDIA GPUs is not there: {error}")
    command = [sys.executable, "-m", "tests.optim.compiled", "90", "bfloat16"]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    sizes = [int(line.split()[-1]) for line in run.stdout.splitlines()]
    assert len(sizes) == 13 and min(sizes) > 1000


def test_pinned_memory_is_kept_for_the_replays_of_a_graph(triton_modules, monkeypatch):
    """A graph copies the tables from it again at each replay."""

    class Table:
        def pin_memory(self):
            return Pinned()

    class Pinned:
        def to(self, device, non_blocking):
            assert device.type == "cuda" and non_blocking
            return "on the device"

    plan = triton_modules[1]
    upload = plan.Uploads(torch.device("cuda"))
    for capturing in (False, True):
        monkeypatch.setattr(plan, "capturing", lambda device, now=capturing: now)
        assert upload(Table()) == "on the device"
        assert len(upload.held) == capturing
