"""Weights in half precision that train: fp16 is refused, steps that bf16 loses are said."""

import pytest
import torch
from torch import nn

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine.half_precision import check_half_precision


def model(dtype):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)).to(dtype)
    for param in module.parameters():
        nn.init.normal_(param, std=0.02)
    return module


def cfg(lr, *further):
    return compose(["dataset=vqav2", "peft=none", "optim=vanilla", f"trainer.base.lr={lr}", *further])


@pytest.mark.parametrize("lr", [1e-6, 1e-5])
def test_the_share_that_is_said_does_not_move_in_a_hundred_steps(lr, caplog):
    module = model(torch.bfloat16)
    before = [param.detach().clone() for param in module.parameters()]
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=0)
    check_half_precision(module, cfg(lr))
    for _ in range(100):
        for param in module.parameters():
            param.grad = param.detach().sign()
        optimizer.step()
    still = [(old == new).float().mean() for old, new in zip(before, module.parameters(), strict=True)]
    share = 100 * torch.stack(still).mean().item()
    (said,) = caplog.messages
    assert share > 50 and abs(float(said.split(" % of")[0].rpartition(" ")[2]) - share) < 3


@pytest.mark.parametrize(
    ("dtype", "lr", "further"),
    [
        (torch.bfloat16, 1e-4, ()),
        (torch.float32, 1e-6, ()),
        (torch.bfloat16, 1e-6, ("trainer.base.name=sgd",)),
    ],
)
def test_nothing_is_said_of_steps_that_arrive(dtype, lr, further, caplog):
    check_half_precision(model(dtype), cfg(lr, *further))
    assert not caplog.messages


def test_weights_in_fp16_are_refused_where_they_train():
    module = model(torch.float16)
    with pytest.raises(DigrapError, match="fp16: optim=vanilla peft=none trains weights held in fp16, where"):
        check_half_precision(module, cfg(1e-4))
    module[0].requires_grad_(False)
    module[1].float()
    check_half_precision(module, cfg(1e-4))
