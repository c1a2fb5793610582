"""The step under torch.compile: traced without breaks, apart from the step counts that are read on the CPU."""

import pytest
import torch
from torch._dynamo.utils import counters

from tests.optim.infos import EVERY
from tests.optim.steps import shapes


def refill(params, number):
    """Write the gradients of a step into the tensors that are there: a compiled step holds on to them."""
    generator = torch.Generator().manual_seed(number)
    for param in params:
        if param.grad is None:
            param.grad = torch.empty_like(param)
        param.grad.copy_(torch.randn(param.shape, generator=generator) * (-1) ** number)


@pytest.mark.parametrize("info", EVERY)
def test_the_update_is_traced_whole_and_equal(info):
    torch._dynamo.reset()
    counters.clear()
    compiled, plain = shapes(dtype=torch.float64), shapes(dtype=torch.float64)
    ours, theirs = info.optim_cls(compiled, lr=0.02), info.optim_cls(plain, lr=0.02)
    step = torch.compile(ours.step, backend="eager")
    for number in range(6):
        refill(compiled, number)
        refill(plain, number)
        step()
        theirs.step()
    for param, other in zip(compiled, plain, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-6, atol=1e-6)
    breaks = counters["graph_break"]
    assert sum(breaks.values()) <= 1 and all("Tensor.item()" in reason for reason in breaks), breaks
    assert counters["stats"]["unique_graphs"] <= 3, "a step is compiled again for every step count"
