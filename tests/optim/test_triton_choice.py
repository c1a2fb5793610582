"""Who is updated by Triton kernels, on tensors that pretend to be on a GPU."""

import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from digrap.optim import DiGraP, tensors
from digrap.optim.kernels import triton_choice


@pytest.fixture
def on_gpu(monkeypatch):
    """shape, dtype → a parameter on a GPU that has no memory."""
    monkeypatch.setattr(tensors, "plain", lambda param: True)
    monkeypatch.setattr(triton_choice, "installed", lambda: True)
    monkeypatch.setattr(triton_choice, "fault_on", lambda device: None)
    with FakeTensorMode():
        yield lambda *shape, dtype=torch.float32: torch.nn.Parameter(torch.empty(shape, dtype=dtype, device="cuda"))


class Changed(DiGraP):
    """A rule that the kernels do not know."""

    def adjust_gradients(self, bucket):
        return bucket.grads


def test_dense_tensors_with_an_anchor(on_gpu):
    for dtype in triton_choice.DTYPES:
        param = on_gpu(3, 4, dtype=dtype)
        optimizer = DiGraP([param], fused=True)
        group = optimizer.param_groups[0]
        assert optimizer.implementation == "triton"
        assert triton_choice.takes(optimizer, group, param, torch.empty_like(param))
        assert not triton_choice.takes(optimizer, group, param, torch.empty_like(param, dtype=torch.complex64))
        assert not triton_choice.takes(optimizer, group, param, torch.empty(4, 3, dtype=dtype, device="cuda").T)


@pytest.mark.parametrize("options", [{"fused": False}, {"foreach": True}, {"foreach": True, "fused": None}])
def test_unless_something_else_is_asked_for(on_gpu, options):
    assert DiGraP([on_gpu(3)]).implementation == "triton"
    assert DiGraP([on_gpu(3)], **options).implementation == "foreach"


def test_not_without_anchor_and_not_for_other_rules(on_gpu):
    assert DiGraP([on_gpu(3)], fused=True, anchor="none").implementation == "foreach"
    with pytest.raises(RuntimeError, match="fused=True: Changed has no fused implementation on cuda"):
        assert Changed([on_gpu(3)], fused=True).implementation
    assert DiGraP([torch.nn.Parameter(torch.zeros(3))], fused=True).implementation != "triton"


def test_not_where_the_layout_differs(on_gpu):
    param = on_gpu(2, 3, 4, 5)
    param.data = param.data.to(memory_format=torch.channels_last)
    optimizer = DiGraP([param], fused=True)
    assert optimizer.implementation == "foreach"
    later = on_gpu(2, 3)
    optimizer = DiGraP([later], fused=True)
    optimizer.state[later]["exp_avg"] = optimizer.state[later]["exp_avg"].bfloat16()
    assert optimizer.implementation == "foreach"


def test_subclasses_of_tensors_are_left_to_torch():
    assert tensors.plain(torch.nn.Parameter(torch.zeros(2)))
    with FakeTensorMode():
        assert not tensors.plain(torch.zeros(2))


def test_a_missing_triton_is_said(on_gpu, monkeypatch):
    monkeypatch.setattr(triton_choice, "installed", lambda: False)
    assert DiGraP([on_gpu(3)]).implementation == "foreach"
    with pytest.raises(RuntimeError, match="DiGraP: fused=True on CUDA needs Triton, which is not installed; install"):
        _ = DiGraP([on_gpu(3)], fused=True).implementation


def test_a_triton_that_does_not_work_is_said_once(monkeypatch):
    """As where it finds no C compiler; here a CPU, which it has no driver for, stands for the GPU."""
    pytest.importorskip("triton", reason="Triton is for Linux with a GPU build of torch")
    triton_choice.fault_on.cache_clear()
    cpu = torch.device("cpu")
    with pytest.warns(UserWarning, match="the optimizer's kernels need Triton, which does not work here .*slower"):
        fault = triton_choice.fault_on(cpu)
    assert fault.startswith("which does not work here (RuntimeError: ") and fault.endswith("; leave fused out")
    with warnings.catch_warnings(action="error"):
        assert triton_choice.fault_on(cpu) == fault
    triton_choice.fault_on.cache_clear()


def test_a_fault_is_raised_where_triton_is_asked_for(on_gpu, monkeypatch):
    monkeypatch.setattr(triton_choice, "fault_on", lambda device: "which is broken")
    assert DiGraP([on_gpu(3)]).implementation == "foreach"
    with pytest.raises(RuntimeError, match="DiGraP: fused=True on CUDA needs Triton, which is broken"):
        _ = DiGraP([on_gpu(3)], fused=True).implementation
