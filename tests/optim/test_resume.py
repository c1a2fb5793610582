"""Resuming through Hugging Face's Trainer and accelerate: from AdamW's checkpoint, and from weights alone."""

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from transformers import Trainer, TrainingArguments

from digrap.optim import FTP, DiGraP, param_groups
from tests.optim.infos import EVERY
from tests.optim.test_accelerate import fresh_accelerate, reset  # noqa: F401  a fixture for all tests

pytestmark = pytest.mark.filterwarnings("ignore")  # from the frameworks, about workers and each other


class Net(nn.Module):
    """A body and a head, with the loss that the Trainer asks for."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x, labels):
        logits = self.head(self.body(x).tanh()).squeeze(-1)
        return {"loss": (logits - labels).square().mean(), "logits": logits}


def data():
    inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    return [{"x": row, "labels": row.sum()} for row in inputs]


def train(folder, model, optimizer=None, resume=None, steps=4, **options):
    """A Trainer after its training; `optimizer` or `optimizer_cls_and_kwargs`."""
    reset()
    args = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=8, save_strategy="steps", save_steps=4,
        report_to="none", use_cpu=True, disable_tqdm=True, learning_rate=0.05,
        save_only_model=options.pop("save_only_model", False),
    )  # fmt: skip
    trainer = Trainer(model=model, args=args, train_dataset=data(), optimizers=(optimizer, None), **options)
    trainer.train(resume_from_checkpoint=resume and str(resume / "checkpoint-4"))
    return trainer


@pytest.mark.parametrize("cls", [DiGraP, FTP])
def test_the_trainer_goes_on_from_adamws_checkpoint(cls, tmp_path):
    """The head stays without anchor, options of groups stay, and the anchors are those of the pre-trained weights."""
    model = Net()
    start = copy.deepcopy(model)
    groups = param_groups(model, unanchored=["head"])
    train(tmp_path, model, torch.optim.AdamW(groups, lr=0.05))
    resumed = Net()
    optimizer = cls(param_groups(resumed, unanchored=["head"]), lr=0.05, foreach=False)
    trainer = train(tmp_path, resumed, optimizer, tmp_path, steps=6)
    assert trainer.state.global_step == 6
    assert [(group["anchor"], group["foreach"], group["fused"]) for group in optimizer.param_groups] == [
        ("init", False, None), ("none", False, None),
    ]  # fmt: skip
    assert float(optimizer.state[resumed.body.weight]["step"]) == 6
    assert torch.equal(optimizer.state[resumed.body.weight]["anchor"], start.body.weight)
    assert "anchor" not in optimizer.state[resumed.head.weight]


def test_the_trainers_own_groups_go_on_from_its_own_adamw(tmp_path):
    """`optimizer_cls_and_kwargs` replaces the Trainer's default optimizer, fused AdamW, in the middle."""
    train(tmp_path, Net())
    trainer = train(
        tmp_path, Net(), resume=tmp_path, steps=6,
        optimizer_cls_and_kwargs=(DiGraP, {"lr": 0.05, "anchor": "zero", "mu": 3.0, "fused": False}),
    )  # fmt: skip
    groups = trainer.optimizer.optimizer.param_groups
    assert [(group["anchor"], group["mu"], group["fused"]) for group in groups] == [("zero", 3.0, False)] * 2


@pytest.mark.parametrize("cls", [DiGraP, FTP])
def test_weights_alone_move_the_anchors_unless_they_are_given(cls, tmp_path):
    """With save_only_model the Trainer loads the weights before it makes the optimizer. The remedy: given anchors."""
    model = Net()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    make = {"optimizer_cls_and_kwargs": (cls, {"lr": 0.05})}
    train(tmp_path, model, save_only_model=True, **make)
    tuned = copy.deepcopy(model)
    moved = train(tmp_path, again := Net(), resume=tmp_path, steps=6, save_only_model=True, **make)
    assert torch.equal(moved.optimizer.optimizer.state[again.body.weight]["anchor"], tuned.body.weight)
    remedied = Net()
    groups = param_groups(remedied, anchors=before)
    make = {"optimizer_cls_and_kwargs": (cls, {"lr": 0.05, "params": groups})}
    right = train(tmp_path, remedied, resume=tmp_path, steps=6, save_only_model=True, **make)
    state = right.optimizer.optimizer.state[remedied.body.weight]
    assert torch.equal(state["anchor"], before["body.weight"])
    assert not torch.equal(state["anchor"], tuned.body.weight)


@pytest.mark.parametrize("info", EVERY)
def test_accelerate_loads_adamws_state(info, tmp_path):
    def prepared(make):
        reset()
        accelerator, model = Accelerator(cpu=True), Net()
        model.body.bias.requires_grad_(False)
        model, optimizer = accelerator.prepare(model, make(param_groups(model, unanchored=["head"])))
        return accelerator, model, optimizer

    def step(accelerator, model, optimizer):
        for row in data()[:3]:
            accelerator.backward(model(row["x"][None], row["labels"][None])["loss"])
            optimizer.step()
            optimizer.zero_grad()

    plain = prepared(lambda groups: torch.optim.AdamW([{"params": group["params"]} for group in groups]))
    step(*plain)
    plain[0].save_state(str(tmp_path))
    ours = prepared(lambda groups: info.optim_cls(groups, foreach=False))
    ours[0].load_state(str(tmp_path))
    model, optimizer = ours[1], ours[2].optimizer
    assert [group["anchor"] for group in optimizer.param_groups] == ["init", "none"]
    assert torch.equal(optimizer.state[model.body.weight]["anchor"], Net().body.weight)
    assert float(optimizer.state[model.body.weight]["step"]) == 3
    assert model.body.bias not in optimizer.state
    step(*ours)
