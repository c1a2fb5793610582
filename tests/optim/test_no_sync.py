"""A step never waits for the device: the only number read from a tensor is the `step` count, which is on the CPU."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from digrap.cli.bench.measures import READS
from tests.optim.infos import INFOS


class ForbidReads(TorchDispatchMode):
    """Raise AssertionError if an operation reads the value of a tensor that is not `allowed`."""

    def __init__(self, allowed):
        super().__init__()
        self.allowed = {tensor.data_ptr() for tensor in allowed}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in READS and args[0].data_ptr() not in self.allowed:
            raise AssertionError(f"{func} reads a tensor of shape {tuple(args[0].shape)} in the step")
        return func(*args, **(kwargs or {}))


def test_the_guard_detects_reads():
    value = torch.ones(())
    for read in (lambda: value.item(), lambda: value > 0 and None, lambda: torch.ones(2).add_(1, alpha=value)):
        with pytest.raises(AssertionError, match="reads a tensor"), ForbidReads([]):
            read()
    with ForbidReads([value]):
        value.item()


WAYS = [
    pytest.param(info, given.kwargs | {"foreach": foreach}, id=f"{info.name}-{given.desc}-foreach={foreach}")
    for info in INFOS
    for given in info.optim_inputs_func(device="cpu")
    for foreach in (None, True, False)
    if not torch.is_tensor(given.kwargs.get("lr"))  # torch itself reads a tensor learning rate
]


@pytest.mark.parametrize(("info", "kwargs"), WAYS)
def test_the_step_reads_nothing(info, kwargs):
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (5,), (), (2, 3, 2, 2))]
    optimizer = info.optim_cls(params, **kwargs)
    for _ in range(4):
        for param in params:
            param.grad = torch.randn_like(param)
        with ForbidReads([optimizer.state[param]["step"] for param in params]):
            optimizer.step()
