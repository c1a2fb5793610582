"""One rule used in one way, for the table in docs/methods.md: each function asserts what a cell says."""

import copy
import inspect

import lightning
import numpy as np
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from torch import nn
from torch.utils.data import DataLoader
from transformers import get_scheduler

import digrap.optim as optim
from digrap.optim.kernels.build import library
from tests.examples.test_examples import load
from tests.optim import ranks, test_accelerate, test_digrap, test_resume, test_rules
from tests.optim.infos import INFOS
from tests.optim.steps import advance, shapes
from tests.optim.walk import BASES, gradients, lr_at, run, start
from tests.reference import RULES as SLOW

OPTIONS = {
    "DiGraP": {"mu": 0.3},
    "L2SP": {"lam": 0.2},
    "MARSSP": {"lam": 0.3},
    "SPD": {"strength": 0.5},
    "FTP": {"mu": 0.1},
}
IN_RANKS = {"DiGraP": "digrap", "L2SP": "l2sp", "MARSSP": "mars_sp", "SPD": "spd", "FTP": "ftp"}
STEPS, LR = 12, 0.05


# --- the base, and adapters: the float64 references -------------------------------------------------------------


def base(cell, name):
    if cell.rule == "DiGraP":
        test_digrap.test_equals_the_reference("conflict", "rows", name, "init", None, 0.0)
    else:
        test_rules.test_equals_the_reference(cell.rule, OPTIONS[cell.rule], name, "init")


def adapters(cell, config, anchors):
    """Every adapter equals its reference around the anchor of its kind, {part of the name: anchor}."""

    def make():
        torch.manual_seed(0)
        return get_peft_model(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), config).double()

    if cell.verdict != "right":
        anchors = anchors | {"lora_A": "init"}
    model, options = make(), OPTIONS[cell.rule]
    optimizer = getattr(optim, cell.rule)(optim.param_groups(model, peft=True), lr=LR, **options)
    trained = {name: param for name, param in model.named_parameters() if param.requires_grad}
    kind = {name: next(anchor for part, anchor in anchors.items() if part in name) for name in trained}
    slow = {name: SLOW[cell.rule](param.detach(), anchor=kind[name], **options) for name, param in trained.items()}
    free = {name: SLOW[cell.rule](param.detach(), anchor="none", **options) for name, param in trained.items()}
    inputs = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for step in range(STEPS):
        optimizer.zero_grad()
        (model(inputs) - (-1) ** (step // 2)).square().mean().backward()
        for name, param in trained.items():
            slow[name].step(param.grad.numpy(), LR)
            free[name].step(param.grad.numpy(), LR)
        optimizer.step()
        for name, param in trained.items():
            np.testing.assert_allclose(param.detach().numpy(), slow[name].theta, rtol=1e-8, atol=1e-11, err_msg=name)
    assert any(np.abs(slow[name].theta - free[name].theta).max() > 1e-3 for name in trained), "the rule did nothing"
    if cell.verdict != "right":
        _first_step_collapses_the_random_factor(make(), getattr(optim, cell.rule), inputs)


def _first_step_collapses_the_random_factor(model, cls, inputs):
    """What the caveat spares: with the anchor of the other rules, zero, A is gone after one step."""
    optimizer = cls([param for param in model.parameters() if param.requires_grad], lr=LR, anchor="zero")
    model(inputs).square().mean().backward()
    optimizer.step()
    assert max(param.abs().max() for name, param in model.named_parameters() if "lora_A" in name) < 1e-7


def lora(cell, dora=False):
    config = LoraConfig(target_modules=["0", "2"], r=2, use_dora=dora)
    adapters(cell, config, {"lora_A": "zero", "lora_B": "zero", "magnitude": "init"})


def ia3(cell):
    adapters(cell, IA3Config(target_modules=["0", "2"], feedforward_modules=["2"]), {"ia3_l": "init"})


# --- bfloat16 ---------------------------------------------------------------------------------------------------


def astray(rule, away):
    """How far bfloat16 is from the float64 reference after 40 steps, by the way that the reference went; the anchors
    are the starts or `away` from them. Rule None: torch's AdamW, by the same kind of implementation."""
    off = gone = 0.0
    for seed in range(4):
        params = start(seed, torch.bfloat16)
        begin = {key: param.detach().double() for key, param in params.items()}
        anchors = {key: value / 2 if away else value for key, value in begin.items()}
        common = {key: value for key, value in BASES["adamw"].items() if key != "base"}
        fused = {"fused": library("bfloat16") is not None}
        if rule is None:
            optimizer = torch.optim.AdamW(params.values(), **common, **fused)
            slow = {key: SLOW["L2SP"](value, anchor="none", **common) for key, value in begin.items()}
        else:
            common |= OPTIONS[rule]
            given = [value.bfloat16() for value in anchors.values()]
            optimizer = getattr(optim, rule)(params.values(), anchor=given, **common, **fused)
            slow = {key: SLOW[rule](begin[key], anchor=anchors[key], **common) for key in begin}
        steps = [
            {key: rounded(grad) for key, grad in grads.items()} for grads in gradients(params, seed + 10, steps=40)
        ]
        run(optimizer, params, steps)
        for key, param in params.items():
            for step, grads in enumerate(steps):
                slow[key].step(grads[key], lr_at(step))
            off += float((param.detach().double() - torch.tensor(slow[key].theta)).square().sum())
            gone += float((begin[key] - torch.tensor(slow[key].theta)).square().sum())
    return (off / gone) ** 0.5


def rounded(array):
    return torch.tensor(array).bfloat16().double().numpy()


def bf16(cell):
    """Rounding leads the rule as far astray as torch's AdamW. Under the caveat it leads it further, up to four times,
    while θ is near its anchor."""
    plain, near, away = astray(None, False), astray(cell.rule, False), astray(cell.rule, True)
    assert away < 1.5 * plain
    if cell.verdict == "right":
        assert near < 1.5 * plain
    else:
        assert 1.2 * away < near < 4 * plain


# --- shards: run by two processes in test_shards.py -------------------------------------------------------------


def fsdp1(cell):
    assert f"{cell.rule} under FSDP1" in ranks.checks(ranks.RULES)
    assert (cell.verdict == "refused") == (getattr(optim, cell.rule).shards == "summed")


def fsdp2(cell):
    assert f"{IN_RANKS[cell.rule]} equals one process" in ranks.checks(ranks.RULES)
    assert (cell.verdict == "caveat 3") == ("low_memory" in inspect.signature(getattr(optim, cell.rule)).parameters)
    assert "low memory" in ranks.checks(ranks.RULES)


# --- the plain loop, and others around it -----------------------------------------------------------------------


def compiled(cell):
    """Compiled, every rule takes the torch operations: the same bits over SGD. Over AdamW torch's own step differs too,
    as it then takes the bias corrections in float32."""
    runs = []
    torch._dynamo.reset()
    for compile in (False, True):
        over_sgd, over_adamw = shapes(dtype=torch.float64)[:2], shapes(dtype=torch.float64)[:1]
        groups = [{"params": over_sgd, "base": "sgd", "momentum": 0.9}, {"params": over_adamw}]
        optimizer = getattr(optim, cell.rule)(groups, lr=LR, fused=False, **OPTIONS[cell.rule])
        if compile:
            optimizer.step = torch.compile(optimizer.step, backend="eager")
        advance(optimizer, over_sgd + over_adamw, range(4))
        runs.append((over_sgd, [dict(optimizer.state[param]) for param in over_sgd], over_adamw))
    torch._dynamo.reset()
    eager, other = runs
    torch.testing.assert_close(eager[:2], other[:2], rtol=1e-12, atol=1e-15)  # sums are taken in another order
    torch.testing.assert_close(eager[2], other[2], rtol=1e-4, atol=1e-6)


def made(rule, net, **options):
    return getattr(optim, rule)(optim.param_groups(net, unanchored=["head"]), lr=LR, **OPTIONS[rule], **options)


def recorded(net):
    """The batches that a model is fed, as a list that grows. The labels change their sign in every other one, so that
    gradients conflict."""
    seen = []

    def feed(_, args, kwargs):
        seen.append(kwargs | {"labels": kwargs["labels"] * (-1) ** len(seen)})
        return args, seen[-1]

    net.register_forward_pre_hook(feed, with_kwargs=True)
    return seen


def replay(cell, seen, net, optimizer, clip=None, schedule=None):
    """Assert that the model and its optimizer are where a plain loop over the same batches comes, bit for bit."""
    plain, free = test_resume.Net(), test_resume.Net()
    groups = [{"params": list(free.parameters()), "anchor": "none"}]
    rules = [made(cell.rule, plain), getattr(optim, cell.rule)(groups, lr=LR)]
    for model, own in zip((plain, free), rules, strict=True):
        scheduler = schedule(own) if schedule else None
        for batch in seen:
            model(**batch)["loss"].backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            own.step()
            own.zero_grad()
            if scheduler:
                scheduler.step()
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict()["state"], rules[0].state_dict()["state"], rtol=0, atol=0)
    assert not torch.equal(plain.body.weight, free.body.weight), "the rule did nothing"


def batches():
    """Batches of four rows."""
    rows = test_resume.data()
    return [{key: torch.stack([row[key] for row in rows[i : i + 4]]) for key in rows[0]} for i in range(0, 16, 4)]


def scaled(cell):
    """The loss times 2^10, later 2^11 …; the step with infinite gradients is left out."""
    net = test_resume.Net()
    optimizer, seen = made(cell.rule, net), recorded(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    for step in range(STEPS):
        batch = copy.deepcopy(batches()[step % 4])
        batch["x"] *= float("inf") if step == 6 else 1.0
        scaler.scale(net(**batch)["loss"]).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert scaler.get_scale() != 2.0**10
    replay(cell, seen[:6] + seen[7:], net, optimizer)


def trainer(cell, folder):
    """With the Trainer's defaults: gradients are clipped to norm 1, the learning rate falls linearly."""
    net = test_resume.Net()
    optimizer, seen = made(cell.rule, net), recorded(net)
    test_resume.train(folder, net, optimizer, steps=STEPS)
    assert len(seen) == STEPS
    replay(cell, seen, net, optimizer, clip=1.0, schedule=lambda own: get_scheduler("linear", own, 0, STEPS))


class Module(lightning.LightningModule):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.net = cell, test_resume.Net()

    def training_step(self, batch, _):
        return self.net(**batch)["loss"]

    def configure_optimizers(self):
        return made(self.cell.rule, self.net)


def in_lightning(cell, folder):
    module = Module(cell)
    seen, fit = recorded(module.net), load("lightning_module").make_trainer(str(folder), 3)
    fit.fit(module, DataLoader(test_resume.data(), batch_size=4))
    assert len(seen) == STEPS
    replay(cell, seen, module.net, fit.optimizers[0])


def accelerate(cell):
    """The prepared optimizer equals the plain one; its checkpoints are in test_accelerate.py too."""
    info = next(info for info in INFOS if info.name == cell.rule)
    test_accelerate.test_prepare_changes_nothing(info)


CHECKS = {
    "AdamW": lambda cell, folder: base(cell, "adamw"),
    "SGD": lambda cell, folder: base(cell, "sgd"),
    "LoRA": lambda cell, folder: lora(cell),
    "DoRA": lambda cell, folder: lora(cell, dora=True),
    "IA3": lambda cell, folder: ia3(cell),
    "bf16": lambda cell, folder: bf16(cell),
    "FSDP1": lambda cell, folder: fsdp1(cell),
    "FSDP2": lambda cell, folder: fsdp2(cell),
    "compile": lambda cell, folder: compiled(cell),
    "GradScaler": lambda cell, folder: scaled(cell),
    "Trainer": trainer,
    "Lightning": in_lightning,
    "accelerate": lambda cell, folder: accelerate(cell),
}
