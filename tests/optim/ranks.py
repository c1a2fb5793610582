"""What two ranks check of parameters in shards, each against the same optimizer in one process; see test_shards.py."""

import copy
import datetime
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from pytest import approx
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import digrap.optim as optim
from digrap.optim.base import AnchoredOptimizer
from digrap.optim.diagnostics import displacement_report

STEPS, CPU = 12, torch.device("cpu")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
NESTEROV = {"base": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
RULES = {
    "digrap": ("DiGraP", {"mu": 0.3}),
    "digrap tensor": ("DiGraP", {"mu": 0.3, "normalize": "tensor", "rule": "listing", "lam": 0.2}),
    "digrap none": ("DiGraP", {"mu": 0.3, "normalize": "none", "anchor": "zero"}),
    "digrap fixed": ("DiGraP", {"omega": 0.7, "anchor": "zero"}),
    "digrap sgd": ("DiGraP", {"mu": 0.3, **NESTEROV}),
    "ftp": ("FTP", {"mu": 0.1}),
    "ftp sgd": ("FTP", {"mu": 0.1, "k": 0.5, "anchor": "zero", **NESTEROV}),
    "mars_sp": ("MARSSP", {"lam": 0.3}),
    "mars_sp zero": ("MARSSP", {"lam": 0.3, "anchor": "zero"}),
    "spd": ("SPD", {"strength": 1.0}),
    "l2sp": ("L2SP", {"lam": 0.3}),
}


class Net(nn.Module):
    """Kernels, matrices with rows that two ranks cannot share evenly (one has a single row), vectors, a plain layer
    that is not sharded, and a fresh head."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Conv2d(2, 3, 2)
        self.body = nn.Linear(12, 5)
        self.scale = nn.LayerNorm(5)
        nn.init.constant_(self.scale.bias, 0.5)
        self.one = nn.Linear(5, 1, bias=False)
        self.plain = nn.Linear(5, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        x = self.scale(self.body(self.kernel(x).flatten(1).tanh()))
        return self.head(self.plain(x) + self.one(x))


def pair(dtype, **options):
    """The same model in one process and sharded over the two ranks."""
    torch.manual_seed(0)
    single = Net().to(dtype)
    model = copy.deepcopy(single)
    fully_shard(model, ignored_params=set(model.plain.parameters()), **options)
    return single, model


def optimizer_of(name, model):
    """The rule of RULES over a model, its head without anchor."""
    cls, options = RULES[name]
    groups = optim.param_groups(model, unanchored=["head"], lr=0.03)
    options = {"betas": (0.8, 0.95), **options} if "base" not in options else dict(options)
    anchor = options.pop("anchor", "init")
    for group in groups:
        group.setdefault("anchor", anchor)
    return getattr(optim, cls)(groups, **options)


def backward(single, model, step):
    """Gradients of one loss: one process sees the batch, each rank its half."""
    dtype = next(single.parameters()).dtype
    x = torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(step)).to(dtype)
    for net, batch in ((single, x), (model, x.chunk(2)[dist.get_rank()])):
        net.zero_grad()
        (net(batch) * (-1) ** (step // 2)).square().sub(net(batch)).mean().backward()
    for param in model.parameters():
        if not isinstance(param, DTensor):  # what is not sharded is the caller's to average
            dist.all_reduce(param.grad)
            param.grad /= 2


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def same(single, model, optimizers, tolerance):
    """Assert that parameters and states are equal."""
    for (name, a), b in zip(single.named_parameters(), model.parameters(), strict=True):
        states = [optimizer.state[param] for optimizer, param in zip(optimizers, (a, b), strict=True)]
        left, right = {"value": a.detach(), **states[0]}, {"value": b.detach(), **states[1]}
        assert left.keys() == right.keys()
        for key in left:
            close = {"rtol": tolerance, "atol": tolerance, "equal_nan": True}
            where = f"{name} {key}: "
            torch.testing.assert_close(whole(right[key]), left[key], **close, msg=where.__add__)


def equal(name, dtype=torch.float64, spoil=None, **options):
    """Take STEPS steps beside one process; `spoil` changes a gradient of step 5."""
    single, model = pair(dtype, **options)
    optimizers = [optimizer_of(name, net) for net in (single, model)]
    for step in range(STEPS):
        backward(single, model, step)
        if spoil is not None and step == 5:
            single.body.weight.grad[-1, 0] = spoil  # in the rows of the second rank
            local = model.body.weight.grad.to_local()
            if dist.get_rank() == 1:
                local[-1, 0] = spoil
        for optimizer in optimizers:
            optimizer.step()
    same(single, model, optimizers, TOLERANCE[dtype])
    return single, model, optimizers


def checkpoints(name, folder):
    """A distributed checkpoint in the middle, loaded into a new model and optimizer, changes nothing."""
    single, model = pair(torch.float64)
    optimizers = [optimizer_of(name, net) for net in (single, model)]
    for step in range(2 * STEPS):
        if step == STEPS:
            states = get_state_dict(model, optimizers[1])
            dcp.save(dict(zip(("model", "optimizer"), states, strict=True)), checkpoint_id=folder / name)
            _, model = pair(torch.float64)
            for param in model.parameters():
                param.data.mul_(2.0)  # neither the values nor the anchors of before
            optimizers[1] = optimizer_of(name, model)
            loaded = dict(zip(("model", "optimizer"), get_state_dict(model, optimizers[1]), strict=True))
            dcp.load(loaded, checkpoint_id=folder / name)
            set_state_dict(model, optimizers[1], model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
        backward(single, model, step)
        for optimizer in optimizers:
            optimizer.step()
    same(single, model, optimizers, 1e-10)


def one_collective():
    """A step gathers once for the sharded tensors of a group, not once for each."""
    calls, gather = [], dist.all_gather_into_tensor
    for name in RULES:
        single, model = pair(torch.float32)
        optimizer = optimizer_of(name, model)
        for step in range(3):
            backward(single, model, step)
            calls.clear()
            dist.all_gather_into_tensor = lambda *args, **kwargs: calls.append(1) or gather(*args, **kwargs)
            optimizer.step()
            dist.all_gather_into_tensor = gather
            most = {"l2sp": 0, "ftp": 1 if step == 0 else 2, "ftp sgd": 1 if step == 0 else 2}.get(name, 1)
            assert len(calls) == most, (name, step, len(calls))


def refused(cls, params, *words, **options):
    """Assert that the first step raises a RuntimeError with these words."""
    optimizer = cls(params, **options)
    try:
        optimizer.step()
    except RuntimeError as error:
        assert all(word in str(error) for word in (cls.__name__, *words)), error
        return
    raise AssertionError(f"{cls.__name__} took {words}")


class Custom(optim.DiGraP):
    """A rule of somebody's own, whose sums may be of this rank's rows alone."""

    def adjust_gradients(self, bucket):
        return [grad / (grad.norm() + 1) for grad in bucket.grads]


def refusals():
    mesh = init_device_mesh("cpu", (2,))
    columns = nn.Parameter(distribute_tensor(torch.ones(4, 4), mesh, [Shard(1)]))
    rows = nn.Parameter(distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)]))
    for param in (columns, rows):
        param.grad = torch.ones_like(param)
    for name in optim.__all__:
        cls = getattr(optim, name)
        if name != "param_groups" and cls is not AnchoredOptimizer:
            refused(cls, [("w", columns)], "parameter w", "dimension 0", "fully_shard")
    refused(Custom, [("w", rows)], "parameter w", "does not say how its sums run over the ranks")


def low_memory():
    """DiGraP refuses to rebuild δ from the moments of DTensors."""
    rows = nn.Parameter(distribute_tensor(torch.ones(4, 4), init_device_mesh("cpu", (2,)), [Shard(0)]))
    rows.grad = torch.ones_like(rows)
    refused(optim.DiGraP, [rows], "low_memory=True does not work with DTensors; leave it out", low_memory=True)


def fsdp1(cls):
    """Flattened parameters are refused by the rules with sums, and right under L2-SP, which has none."""
    for original in (False, True):
        single, _ = pair(torch.float64)
        wrapped = FullyShardedDataParallel(copy.deepcopy(single), use_orig_params=original, device_id=CPU)
        x = torch.randn(8, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
        wrapped(x).square().mean().backward()
        if cls is not optim.L2SP:
            refused(cls, wrapped.parameters(), "parameter 0.", "FullyShardedDataParallel", "fully_shard")
            continue
        optimizers = [cls(net.parameters(), lr=0.03, lam=0.3) for net in (single, wrapped)]
        for _ in range(STEPS):
            for net, optimizer in zip((single, wrapped), optimizers, strict=True):
                optimizer.zero_grad()
                net(x).square().mean().backward()
                optimizer.step()
        with FullyShardedDataParallel.summon_full_params(wrapped):
            torch.testing.assert_close(list(wrapped.module.parameters()), list(single.parameters()))


def reports():
    """The reports of a sharded model are those of one process."""
    single, model, optimizers = equal("digrap")
    found, wanted = (optimizer.omega_report() for optimizer in reversed(optimizers))
    assert list(found.values()) and [*found.values()] == [approx(row) for row in wanted.values()]
    anchors = [
        {name: optimizer.state[param]["anchor"] for name, param in net.named_parameters() if "head" not in name}
        for net, optimizer in zip((single, model), optimizers, strict=True)
    ]
    left = displacement_report(single.named_parameters(), anchors[0])
    assert displacement_report(model.named_parameters(), anchors[1]) == {k: approx(row) for k, row in left.items()}


def hybrid(shape):
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard"))
    equal("digrap", mesh=mesh)
    equal("mars_sp", mesh=mesh)


def checks(rules, folder=None):
    """{name: the check}, those of RULES that are named, and all others; distributed checkpoints are written into the
    folder."""
    result = {}
    for name in rules:
        result[f"{name} equals one process"] = lambda name=name: equal(name)
        if name != "mars_sp":  # at the anchor, rounding decides the signs of δ
            result[f"{name} equals one process in float32"] = lambda name=name: equal(name, torch.float32)
    for name in [name for name in ("digrap", "ftp", "spd", "mars_sp") if name in rules]:
        result[f"{name}: NaN on one rank"] = lambda name=name: equal(name, spoil=float("nan"))
    for name in [name for name in ("digrap", "ftp", "spd", "mars_sp", "l2sp") if name in rules]:
        result[f"{name}: distributed checkpoint"] = lambda name=name: checkpoints(name, folder)
    for cls in (optim.DiGraP, optim.FTP, optim.L2SP, optim.MARSSP, optim.SPD):
        result[f"{cls.__name__} under FSDP1"] = lambda cls=cls: fsdp1(cls)
    result |= {
        "one collective a group": one_collective,
        "reports": reports,
        "refusals": refusals,
        "low memory": low_memory,
    }
    result |= {f"mesh {shape}": lambda shape=shape: hybrid(shape) for shape in ((1, 2), (2, 1))}
    return result


def work(rank: int, folder: str, rules: tuple[str, ...]) -> None:
    """Run every check on this rank; the first rank writes {name: "" or a traceback} to results.pt."""
    torch.set_num_threads(1)
    folder, limit = Path(folder), datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=limit)
    results = {}
    for name, check in checks(rules, folder).items():
        try:
            check()
            results[name] = ""
        except Exception:
            results[name] = traceback.format_exc()
            break  # the ranks may no longer be at the same place
    torch.save(results, folder / f"results{rank}.pt")
    dist.destroy_process_group()
