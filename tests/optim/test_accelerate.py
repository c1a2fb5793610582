"""Every class under accelerate: prepare, save_state and load_state."""

import copy

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import move_to_device
from accelerate.state import AcceleratorState, GradientState
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.optim.infos import EVERY, WAYS


def reset():
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(autouse=True)
def fresh_accelerate():
    reset()
    yield
    reset()


class Run:
    """A small model and its optimizer, prepared by their own Accelerator."""

    def __init__(self, info, kwargs, dtype, seed):
        reset()
        torch.manual_seed(seed)
        self.accelerator = Accelerator(cpu=True)
        model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)).to(dtype)
        optimizer = info.optim_cls(model.parameters(), **copy.deepcopy(kwargs))
        self.dtype, (self.model, self.optimizer) = dtype, self.accelerator.prepare(model, optimizer)

    def advance(self, steps):
        """Take the steps numbered `steps` (a range), each on its own batch; alternating labels cause conflicts."""
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            inputs = torch.randn(5, 6, generator=generator).to(self.dtype)
            loss = (self.model(inputs) - (-1) ** step).square().mean()
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()


def same(left, right):
    """Assert that parameters and optimizer states are bit-equal, of equal dtypes."""
    weights, states = zip(*((run.model.state_dict(), run.optimizer.state_dict()) for run in (left, right)), strict=True)
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    torch.testing.assert_close(*(state["state"] for state in states), rtol=0, atol=0)
    assert states[0]["param_groups"] == states[1]["param_groups"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("info", "kwargs"), WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_save_state_and_load_state_resume_bit_for_bit(info, kwargs, dtype, tmp_path):
    """10 + 10 steps equal 20. The resumed run is built from other weights: its anchors must be the saved ones."""
    whole = Run(info, kwargs, dtype, seed=0)
    whole.advance(range(10))
    whole.accelerator.save_state(str(tmp_path))
    whole.advance(range(10, 20))
    resumed = Run(info, kwargs, dtype, seed=1)
    resumed.accelerator.load_state(str(tmp_path))
    resumed.advance(range(10, 20))
    same(whole, resumed)


@pytest.mark.parametrize("info", EVERY)
def test_prepare_changes_nothing(info):
    prepared, plain = Run(info, {}, torch.float32, seed=0), Run(info, {}, torch.float32, seed=0)
    plain.optimizer = plain.optimizer.optimizer
    prepared.advance(range(5))
    plain.advance(range(5))
    same(prepared, plain)


@pytest.mark.parametrize("info", EVERY)
def test_prepare_leaves_the_step_count_on_the_cpu(info):
    """`step` is read in every step. prepare() moves all state to the GPU (here a fake one) and loads it back."""
    with FakeTensorMode():
        param = nn.Parameter(torch.zeros(3, 2, device="cuda"))
        optimizer = info.optim_cls([param])
        optimizer.load_state_dict(move_to_device(optimizer.state_dict(), torch.device("cuda")))
        assert optimizer.state[param]["step"].device.type == "cpu"
