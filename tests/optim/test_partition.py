"""What is kept of a group's buckets between steps is used while nothing has changed, and never after a change."""

import copy
import gc

import pytest
import torch
from torch.nn import Parameter

from digrap.optim import FTP, L2SP, MARSSP, SPD, DiGraP, partition
from digrap.optim.kernels import blocked_units
from digrap.optim.paths import implementations

RULES = [DiGraP, FTP, L2SP, MARSSP, SPD]
SHAPES = ((4, 3), (5,), (2, 3, 2, 2), (6, 2))


def start():
    torch.manual_seed(0)
    return [Parameter(torch.randn(shape)) for shape in SHAPES]


def fill(params, step):
    torch.manual_seed(100 + step)
    for param in params:
        param.grad = torch.randn(param.shape).to(param.dtype)


def gradient_missing(optimizer, params):
    params[1].grad = None


def gradient_strided(optimizer, params):
    params[0].grad = params[0].grad.t().contiguous().t()


def fresh_step_count(optimizer, params):
    optimizer.state[params[0]]["step"].zero_()


def later_step_count(optimizer, params):
    for state in optimizer.state.values():
        state["step"] += 3


def loaded(optimizer, params):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def state_moved(optimizer, params):
    for state in optimizer.state.values():
        for key, value in state.items():
            state[key] = value.clone()
    gc.collect()


def state_replaced_in_place(optimizer, params):
    for state in optimizer.state.values():
        state["exp_avg"].data = state["exp_avg"].data.clone()


def weights_replaced(optimizer, params):
    for param in params:
        param.data = param.data.clone()


def channels_last(optimizer, params):
    params[2].data = params[2].data.to(memory_format=torch.channels_last)


def other_path(optimizer, params):
    optimizer.param_groups[0]["foreach"] = True


def plain(optimizer, params):
    optimizer.param_groups[0]["anchor"] = "none"


def parameter_frozen(optimizer, params):
    params[3].requires_grad_(False)
    params[3].grad = None


def group_added(optimizer, params):
    params.append(Parameter(torch.ones(3)))
    optimizer.add_param_group({"params": [params[-1]]})
    params[-1].grad = torch.full((3,), 0.5)


def pickled(optimizer, params):
    state = copy.deepcopy(optimizer).state_dict()
    optimizer.load_state_dict(state)


CHANGES = [
    gradient_missing, gradient_strided, fresh_step_count, later_step_count, loaded, state_moved,
    state_replaced_in_place, weights_replaced, channels_last, other_path, plain, parameter_frozen, group_added, pickled,
]  # fmt: skip


@pytest.fixture(params=["native", "blocked", "blocks", "foreach"])
def path(request, monkeypatch):
    if request.param == "blocks":  # of large tensors, several of each
        monkeypatch.setattr(blocked_units, "SMALL", 4)
        monkeypatch.setattr(blocked_units, "BLOCK", 8)
        monkeypatch.setattr(blocked_units, "LONG", 2)
    with implementations(*({request.param.replace("blocks", "blocked")} - {"foreach"})):
        yield request.param


def walk(cls, change, forgetful):
    """Parameters and state after three steps, a change, and three more."""
    params = start()
    optimizer = cls(params, lr=0.02)
    for step in range(6):
        fill(params, step)
        if step == 3:
            change(optimizer, params)
        if forgetful:
            vars(optimizer).pop("_partitions", None)
        optimizer.step()
    return params, [optimizer.state[param] for param in params]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cls", RULES)
def test_a_change_is_seen(path, cls, change):
    kept, found = walk(cls, change, forgetful=False), walk(cls, change, forgetful=True)
    torch.testing.assert_close(kept, found, rtol=0, atol=0)


@pytest.mark.parametrize("cls", RULES)
def test_nothing_is_looked_for_while_nothing_changes(path, cls, monkeypatch):
    params = start()
    optimizer = cls(params)
    looks = []
    choose = partition.choose
    monkeypatch.setattr(partition, "choose", lambda *given: looks.append(given) or choose(*given))
    for step in range(4):
        fill(params, step)
        optimizer.step()
    assert len(looks) == len(params)
    params[0].data = params[0].data.clone()
    optimizer.step()
    assert len(looks) == 2 * len(params)


def test_a_resized_parameter_is_refused_as_before():
    params = start()
    optimizer = DiGraP(params)
    for step in range(2):
        fill(params, step)
        optimizer.step()
    params[0].data = params[0].data.view(3, 4)  # the same memory
    fill(params, 2)
    with pytest.raises(RuntimeError, match="parameter 0.0"):
        optimizer.step()


def test_what_is_kept_holds_no_memory(path):
    """Gradients, and tensors of the state that were moved away, are freed."""
    params = start()
    optimizer = DiGraP(params)
    fill(params, 0)
    optimizer.step()
    gone = torch.utils.weak.WeakTensorKeyDictionary()
    gone[params[0].grad] = None
    params[0].grad = None
    gc.collect()
    assert not len(gone)
    gone[optimizer.state[params[0]]["delta"]] = None
    optimizer.state[params[0]]["delta"] = optimizer.state[params[0]]["delta"].clone()
    if path == "blocks":  # views of large tensors are kept until then
        fill(params, 1)
        optimizer.step()
    gc.collect()
    assert not len(gone)
