"""Every learning-rate scheduler of torch over our classes, after the properties in PyTorch's TestLRScheduler.

Left out: what PyTorch tests of the schedulers themselves, whatever the optimizer (their arguments, their errors, their
printing). What a scheduler writes into our groups, and what it reads from `defaults`, is all that can differ.
"""

import copy
import math
import pickle

import pytest
import torch
from torch.nn import Parameter
from torch.optim import lr_scheduler as lr
from torch.optim.swa_utils import SWALR

from digrap.optim import DiGraP
from tests.optim.infos import EVERY
from tests.optim.steps import fill

EPOCHS = 12
SCHEDULERS = {
    "Lambda": lambda o: lr.LambdaLR(o, lambda epoch: 0.9**epoch),
    "Multiplicative": lambda o: lr.MultiplicativeLR(o, lambda epoch: 0.95),
    "Step": lambda o: lr.StepLR(o, 3, gamma=0.5),
    "MultiStep": lambda o: lr.MultiStepLR(o, [2, 5], gamma=0.5),
    "Constant": lambda o: lr.ConstantLR(o, factor=0.5, total_iters=4),
    "Linear": lambda o: lr.LinearLR(o, start_factor=0.3, total_iters=5),
    "Exponential": lambda o: lr.ExponentialLR(o, gamma=0.9),
    "CosineAnnealing": lambda o: lr.CosineAnnealingLR(o, T_max=EPOCHS, eta_min=1e-4),
    "WarmRestarts": lambda o: lr.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=2),
    "Polynomial": lambda o: lr.PolynomialLR(o, total_iters=8, power=2),
    "Cyclic": lambda o: lr.CyclicLR(o, base_lr=0.01, max_lr=0.1, step_size_up=4, base_momentum=0.7, max_momentum=0.95),
    "OneCycle": lambda o: lr.OneCycleLR(o, max_lr=0.1, total_steps=EPOCHS + 1),
    "Plateau": lambda o: lr.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "Sequential": lambda o: lr.SequentialLR(
        o, [lr.LinearLR(o, start_factor=0.1, total_iters=3), lr.CosineAnnealingLR(o, T_max=8)], milestones=[3]
    ),
    "Chained": lambda o: lr.ChainedScheduler([lr.ConstantLR(o, 0.5, total_iters=3), lr.ExponentialLR(o, 0.9)], o),
    "SWA": lambda o: SWALR(o, swa_lr=0.01, anneal_epochs=4),
}
CLOSED = ("Step", "MultiStep", "Constant", "Linear", "Exponential", "CosineAnnealing", "Polynomial")
BASES = {
    "adamw": ({"base": "adamw"}, torch.optim.AdamW, {}),
    "sgd": ({"base": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
}


def pair():
    """Two parameters for two groups with their own learning rates."""
    return [{"params": [Parameter(torch.ones(2))]}, {"params": [Parameter(torch.ones(3))], "lr": 0.02}]


def written(optimizer):
    """What schedulers write into groups."""
    keys = ("lr", "betas", "momentum", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr")
    return [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]


def walk(optimizer, scheduler, epochs=EPOCHS, start=0):
    """The groups' options after each of some epochs of one step."""
    seen = []
    for epoch in range(start, start + epochs):
        fill([param for group in optimizer.param_groups for param in group["params"]], epoch)
        optimizer.step()
        scheduler.step(*([math.sin(epoch)] if isinstance(scheduler, lr.ReduceLROnPlateau) else []))
        seen.append(copy.deepcopy(written(optimizer)))
    return seen


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize(("ours", "plain", "options"), BASES.values(), ids=BASES)
def test_schedules_equal_those_of_torchs_optimizers(make, ours, plain, options):
    """Learning rates, betas or momentum: whatever the scheduler writes, and nothing of the base that is not in use."""
    optimizer = DiGraP(pair(), lr=0.05, **ours)  # the groups of the other rules are made by the same lines
    reference = plain(pair(), lr=0.05, **options)
    assert walk(optimizer, make(optimizer)) == walk(reference, make(reference))


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
@pytest.mark.parametrize(("ours", "plain", "options"), BASES.values(), ids=BASES)
def test_a_tensor_learning_rate_is_scheduled_in_place(make, ours, plain, options):
    optimizer = DiGraP(pair(), lr=torch.tensor(0.05), **ours)
    reference = plain(pair(), lr=torch.tensor(0.05), **options)
    tensor = optimizer.param_groups[0]["lr"]
    torch.testing.assert_close(walk(optimizer, make(optimizer)), walk(reference, make(reference)))
    assert optimizer.param_groups[0]["lr"] is tensor


@pytest.mark.parametrize("name", CLOSED)
def test_the_closed_form_equals_the_recursion(name):
    """The others of torch's schedulers have no closed form."""
    optimizers = [DiGraP(pair(), lr=0.05) for _ in range(2)]
    recursive, closed = (SCHEDULERS[name](optimizer) for optimizer in optimizers)
    assert hasattr(closed, "_get_closed_form_lr")
    rates = [[group["lr"] for group in groups] for groups in walk(optimizers[0], recursive)]
    for epoch, expected in enumerate(rates, start=1):
        optimizers[1].step()
        with pytest.warns(UserWarning, match="epoch parameter"):
            closed.step(epoch)
        assert [group["lr"] for group in optimizers[1].param_groups] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second"), [("Step", "CosineAnnealing"), ("Exponential", "Multiplicative"), ("Constant", "Cyclic")]
)
def test_two_schedulers_on_one_optimizer(first, second):
    """Chained by hand, as PyTorch allows: both step after each epoch."""

    class Both:
        def __init__(self, optimizer):
            self.each = [SCHEDULERS[name](optimizer) for name in (first, second)]

        def step(self):
            for scheduler in self.each:
                scheduler.step()

    optimizer, reference = DiGraP(pair(), lr=0.05), torch.optim.AdamW(pair(), lr=0.05)
    assert walk(optimizer, Both(optimizer)) == walk(reference, Both(reference))


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(("ours", "plain", "options"), BASES.values(), ids=BASES)
def test_state_dicts_resume_in_the_middle(name, ours, plain, options):
    """Optimizer and scheduler are saved after 5 epochs and loaded into new ones."""
    groups = pair()
    optimizer = DiGraP(copy.deepcopy(groups), lr=0.05, **ours)
    scheduler = SCHEDULERS[name](optimizer)
    walk(optimizer, scheduler, 5)
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    resumed = DiGraP(copy.deepcopy(groups), lr=0.05, **ours)
    again = SCHEDULERS[name](resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    assert walk(resumed, again, 5, start=5) == walk(optimizer, scheduler, 5, start=5)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_copy_of_both_goes_on_as_the_original(name):
    optimizer = DiGraP(pair(), lr=0.05, base="sgd", momentum=0.9)
    scheduler = SCHEDULERS[name](optimizer)
    walk(optimizer, scheduler, 3)
    copied, again = copy.deepcopy((optimizer, scheduler))
    assert walk(copied, again, 5, start=3) == walk(optimizer, scheduler, 5, start=3)
    assert pickle.loads(pickle.dumps(copied)).defaults == copied.defaults


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("name", ["Cyclic", "OneCycle"])
def test_momentum_that_only_the_scheduler_gives(info, name):
    """As under torch's SGD, whose momentum is 0 until the scheduler sets it."""
    groups, others = pair(), pair()
    optimizer = info.optim_cls(groups, base="sgd", anchor="none", lr=0.05, fused=False)
    plain = torch.optim.SGD(others, lr=0.05)
    walk(optimizer, SCHEDULERS[name](optimizer))
    walk(plain, SCHEDULERS[name](plain))
    torch.testing.assert_close([g["params"] for g in groups], [g["params"] for g in others], rtol=0, atol=0)
    anchored = info.optim_cls(pair(), base="sgd", lr=0.05)
    walk(anchored, SCHEDULERS[name](anchored))


@pytest.mark.parametrize("info", EVERY)
@pytest.mark.parametrize("name", ["Cyclic", "OneCycle"])
def test_groups_of_both_bases_cannot_share_a_cycled_momentum(info, name):
    """torch cycles either betas or momentum. The error's remedy, cycle_momentum=False, is tried."""
    first, second = pair()
    optimizer = info.optim_cls([first, second | {"base": "sgd"}], momentum=0.9, betas=(0.8, 0.99))
    assert optimizer.param_groups[0].keys() & {"betas", "momentum"} == {"betas"}
    assert optimizer.param_groups[1]["momentum"] == 0.9
    with pytest.raises(ValueError, match="with `cycle_momentum` option enabled"):
        SCHEDULERS[name](optimizer)
    calm = lr.OneCycleLR(optimizer, max_lr=0.1, total_steps=EPOCHS + 1, cycle_momentum=False)
    assert walk(optimizer, calm)[-1][1]["momentum"] == 0.9


def test_the_constructors_base_is_not_the_groups():
    """`defaults` speak for the groups that are there; options of both bases reach groups that are added later."""
    optimizer = DiGraP([group | {"base": "sgd"} for group in pair()], momentum=0.7, betas=(0.8, 0.99), eps=1e-5)
    assert optimizer.defaults["momentum"] == 0.7
    assert "betas" not in optimizer.defaults
    walk(optimizer, SCHEDULERS["OneCycle"](optimizer))
    copied = copy.deepcopy(optimizer)
    copied.add_param_group({"params": [Parameter(torch.ones(2))]})
    assert copied.param_groups[-1]["base"] == "adamw"
    assert (copied.param_groups[-1]["betas"], copied.param_groups[-1]["eps"]) == ((0.8, 0.99), 1e-5)
    with pytest.raises(ValueError, match="Invalid beta"):
        copied.add_param_group({"params": [Parameter(torch.ones(2))], "betas": (2.0, 0.9), "base": "sgd"})
    assert len(copied.param_groups) == 3
