"""The step under torch.compile: one graph, apart from the step counts that are read on the CPU."""

import pytest
import torch
from torch._dynamo.utils import counters

from tests.optim.infos import EVERY
from tests.optim.steps import fill, shapes


@pytest.mark.parametrize("info", EVERY)
def test_the_update_is_traced_whole_and_equal(info):
    torch._dynamo.reset()
    counters.clear()
    compiled, plain = shapes(dtype=torch.float64), shapes(dtype=torch.float64)
    ours, theirs = info.optim_cls(compiled, lr=0.02), info.optim_cls(plain, lr=0.02)
    step = torch.compile(ours.step, backend="eager")
    for number in range(6):
        fill(compiled, number)
        fill(plain, number)
        step()
        theirs.step()
    for param, other in zip(compiled, plain, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-6, atol=1e-6)
    breaks = counters["graph_break"]
    assert all("Tensor.item()" in reason for reason in breaks), breaks
    assert sum(breaks.values()) <= 1
    assert counters["stats"]["unique_graphs"] <= 3, "a step is compiled again for every step count"
