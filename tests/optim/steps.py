"""Parameters of several ranks, and steps whose gradients depend on the step alone."""

import copy

import torch
from torch.nn import Parameter

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def options(kwargs):
    """A copy for one test: a scheduler writes into a tensor learning rate."""
    return copy.deepcopy(kwargs)


def shapes(seed=0, dtype=torch.float32):
    """Parameters of several ranks."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(4, 3), (5,), (), (2, 3, 2, 2)]
    return [Parameter(torch.randn(size, generator=generator).to(dtype)) for size in sizes]


def fill(params, step):
    """Set gradients that depend on the step alone; every other one is reversed, so that some steps conflict."""
    generator = torch.Generator().manual_seed(100 + step)
    for param in params:
        noise = torch.randn(param.shape, generator=generator)
        param.grad = (noise * (-1) ** step).to(param.dtype)


def advance(optimizer, params, steps):
    """Take the steps numbered `steps` (a range)."""
    for step in steps:
        fill(params, step)
        optimizer.step()


def same_state(left, right):
    """Assert that state dicts are equal, tensors bit for bit and with their dtypes."""
    torch.testing.assert_close(left["state"], right["state"], rtol=0, atol=0)
    dtypes = [
        {key: value.dtype for key, value in entry.items() if torch.is_tensor(value)}
        for side in (left, right)
        for entry in side["state"].values()
    ]
    assert dtypes[: len(dtypes) // 2] == dtypes[len(dtypes) // 2 :]
    assert left["param_groups"] == right["param_groups"]
