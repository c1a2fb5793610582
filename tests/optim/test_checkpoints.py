"""Checkpoints of other optimizers, and parameters that hold nothing."""

import pytest
import torch
from torch.nn import Parameter

from digrap.optim import FTP
from tests.optim.infos import INFOS
from tests.optim.test_contract import advance, shapes

EVERY = [pytest.param(info, id=info.name) for info in INFOS]


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("anchor", ["init", "zero"])
def test_a_checkpoint_of_torchs_own_optimizer_loads(info, anchor):
    """Moments and step go on; options it lacks are the defaults, anchors the values at loading."""
    params = shapes()
    plain = torch.optim.AdamW(params)
    advance(plain, params, range(3))
    optimizer = info.optim_cls(params, anchor=anchor)
    optimizer.load_state_dict(plain.state_dict())
    here = [param.detach().clone() for param in params]
    assert float(optimizer.state[params[0]]["step"]) == 3
    if anchor == "init":
        assert all(torch.equal(optimizer.state[p]["anchor"], value) for p, value in zip(params, here, strict=True))
    advance(optimizer, params, range(3, 6))
    assert all(torch.isfinite(param).all() for param in params)


@pytest.mark.parametrize("info", EVERY)
def test_empty_parameters_are_left_alone(info):
    params = [Parameter(torch.zeros(0, 3)), Parameter(torch.zeros(2))]
    optimizer = info.optim_cls(params)
    for param in params:
        param.grad = torch.ones_like(param)
    for _ in range(2):
        optimizer.step()
    assert not torch.equal(params[1], torch.zeros(2)) or isinstance(optimizer, FTP)
