"""The displacement report against a slow float64 version."""

import numpy as np
import pytest
import torch

from digrap.optim import L2SP, diagnostics
from digrap.optim.diagnostics import displacement_report
from tests.optim.test_no_sync import ForbidReads

SHAPES = {"matrix": (40, 7), "vector": (5,), "scalar": (), "kernel": (4, 3, 3, 2), "empty": (0, 3)}
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def tensors(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


def reference(params, anchors):
    """Norms by a loop over elements, in Python's floats."""
    result = {}
    for name, param in params.items():
        theta = [float(x) for x in param.detach().flatten()]
        start = [float(x) for x in anchors[name].flatten()] if name in anchors else [0.0] * len(theta)
        norm = sum((a - b) ** 2 for a, b in zip(theta, start, strict=True)) ** 0.5
        size = sum(b**2 for b in start) ** 0.5
        result[name] = {"norm": norm, "relative": norm / size if size else None}
    return result


def close(found, expected):
    """Assert equal names, in order, and equal values up to rounding in float64."""
    assert list(found) == list(expected)
    for name, row in expected.items():
        for key, value in row.items():
            assert found[name][key] == (value if value is None else pytest.approx(value, rel=1e-12)), (name, key)


@pytest.mark.parametrize("chunk", [3, 2**22])
@pytest.mark.parametrize("anchored", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_the_reference(dtype, anchored, chunk, monkeypatch):
    monkeypatch.setattr(diagnostics, "CHUNK", chunk)
    params = {name: torch.nn.Parameter(value) for name, value in tensors(0, dtype).items()}
    anchors = tensors(1, anchored)
    close(displacement_report(params.items(), anchors), reference(params, anchors))
    del anchors["vector"]  # a missing anchor is zero
    close(displacement_report(params.items(), anchors), reference(params, anchors))
    close(displacement_report(params.items(), None), reference(params, {}))


def test_a_large_tensor_is_accurate():
    """A float32 sum of three million equal squares is off by more than rounding."""
    param = torch.full((3_000_001,), 1.1)
    anchors = {"p": torch.full_like(param, 1.0)}
    (row,) = displacement_report([("p", param)], anchors).values()
    moved = np.float64(np.float32(1.1)) - 1
    assert row["norm"] == pytest.approx(moved * 3_000_001**0.5, rel=1e-9)
    assert row["relative"] == pytest.approx(moved, rel=1e-9)


def test_at_its_anchor_the_displacement_is_exactly_zero():
    params = tensors(0, torch.float32)
    report = displacement_report(params.items(), {name: value.clone() for name, value in params.items()})
    assert {row["norm"] for row in report.values()} == {0.0}
    assert report["empty"]["relative"] is None and report["matrix"]["relative"] == 0.0


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, L2SP])
def test_any_optimizer_and_nothing_is_changed(optimizer):
    """Memory formats may differ: elements are compared by index."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))
    anchors = {name: param.detach().clone() for name, param in module.named_parameters()}
    module.to(memory_format=torch.channels_last)
    module(torch.randn(5, 3, 4, 4)).square().sum().backward()
    optimizer(module.parameters(), lr=0.1).step()
    before = {name: param.detach().clone() for name, param in module.named_parameters()}
    copies = {name: anchor.clone() for name, anchor in anchors.items()}
    report = displacement_report(module.named_parameters(), anchors)
    close(report, reference(dict(module.named_parameters()), anchors))
    assert report["0.weight"]["norm"] > 0
    assert all(torch.equal(param, before[name]) for name, param in module.named_parameters())
    assert all(torch.equal(anchor, copies[name]) for name, anchor in anchors.items())


def test_each_device_is_read_once(monkeypatch):
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(tensor.shape) or tolist(tensor))
    params = tensors(0, torch.bfloat16)
    with ForbidReads([]):
        displacement_report(params.items(), tensors(1, torch.float32))
    assert reads == [(len(SHAPES), 2)]
    assert displacement_report([], {}) == {}


def test_an_anchor_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"anchor of p: shape \(3,\), but its parameter has \(3, 1\)"):
        displacement_report([("p", torch.ones(3, 1))], {"p": torch.ones(3)})
