"""Learning rates over training."""

import pytest
import torch

from digrap.engine import schedules


def test_cosine_is_torchs_stepped_per_epoch():
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5, eta_min=0.01)
    ours = schedules.cosine(base_lr=0.1, steps_per_epoch=3, epochs=5, min_lr=0.01)
    for epoch in range(5):
        for step in range(3):
            assert 0.1 * ours(3 * epoch + step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_warmup_then_cosine_ends_at_min_lr():
    factor = schedules.linear_warmup_cosine(
        base_lr=1e-3, steps_per_epoch=10, epochs=10, warmup_steps=20, warmup_lr=1e-4, min_lr=1e-5
    )
    assert 1e-3 * factor(0) == pytest.approx(1e-4)
    assert 1e-3 * factor(10) == pytest.approx(5.5e-4)
    assert factor(20) == pytest.approx(1.0)
    assert 1e-3 * factor(100) == pytest.approx(1e-5)


def test_a_learning_rate_of_zero_is_no_error():
    assert schedules.cosine(base_lr=0.0, steps_per_epoch=1, epochs=2)(1) == pytest.approx(0.5)
    assert schedules.constant(base_lr=0.0, steps_per_epoch=1, epochs=2)(1) == 1.0
