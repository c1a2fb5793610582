"""Triton kernels without a GPU."""

import pytest

from digrap.optim import base, partition, paths
from tests.optim.interpreted import interpreted


@pytest.fixture(scope="module")
def triton_modules():
    """`triton_step` and `triton_plan`, interpreted."""
    with interpreted() as modules:
        yield modules


@pytest.fixture
def by_triton(triton_modules, monkeypatch):
    """The Triton path takes every step of optimizers with fused=True."""
    monkeypatch.setattr(partition, "choose", lambda optimizer, group, *_: "triton" if group["fused"] else "foreach")
    step = triton_modules[0].step
    monkeypatch.setattr(base, "kernel", lambda path: step if path == "triton" else paths.kernel(path))
    return triton_modules
