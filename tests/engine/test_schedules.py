"""Learning rates over training."""

import math

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


def lavis_rates(epochs, iterations, accumulation, warmup_steps, lr, warmup_lr, min_lr):
    """LAVIS's own loop: the rate is set before every iteration, an optimizer step follows every `accumulation`-th."""
    for epoch in range(epochs):
        for iteration in range(iterations):
            rate = (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * epoch / epochs)) + min_lr
            if epoch == 0:
                rate = min(lr, warmup_lr + (lr - warmup_lr) * iteration / max(warmup_steps, 1))
            if (iteration + 1) % accumulation == 0:
                yield rate


@pytest.mark.parametrize("warmup_steps", [0, 100, 1000])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_lavis_sets_the_rates_of_its_loop(warmup_steps, accumulation):
    """At 514 iterations an epoch, as the 10 % sample has in batches of 128."""
    options = {"warmup_steps": warmup_steps, "warmup_lr": 1e-4, "min_lr": 1e-4, "accumulation": accumulation}
    factor = schedules.lavis(base_lr=1e-3, steps_per_epoch=514 // accumulation, epochs=10, **options)
    theirs = list(lavis_rates(10, 514, accumulation, warmup_steps, 1e-3, 1e-4, 1e-4))
    assert [1e-3 * factor(step) for step in range(len(theirs))] == pytest.approx(theirs, rel=1e-12)
    assert 1e-3 * factor(514 // accumulation) == pytest.approx(9.8e-4, abs=5e-6)
    assert 1e-3 * factor(4 * 514 // accumulation) == pytest.approx(6.9e-4, abs=5e-6)


def test_a_first_epoch_shorter_than_lavis_warm_up_leaves_it_unfinished():
    factor = schedules.lavis(
        base_lr=1e-3, steps_per_epoch=257, epochs=10, warmup_steps=1000, warmup_lr=1e-4, min_lr=1e-4
    )
    assert 1e-3 * factor(256) == pytest.approx(1e-4 + 9e-4 * 513 / 1000) and factor(257) > 1.7 * factor(256)
