"""tools/bench_train.py trains and prints what it promises; how fast is no test's business."""

import json
import sys

import pytest
import torch

from digrap.cli.bench import train
from digrap.cli.bench.contenders import RULES
from digrap.cli.door import door
from tests.doors import call


def test_every_optimizer_takes_whole_steps_beside_vanilla(monkeypatch, capsys, tmp_path):
    out = tmp_path / "found.json"
    monkeypatch.setattr(
        sys, "argv", ["", "model=test_vit", "batch=1", "rounds=1", "warmup=0", "device=cpu", f"out={out}"]
    )
    assert door(train.main, train.__doc__) == 0
    rows = json.loads(out.read_text())["test_vit"]["rows"]
    assert [row["optimizer"] for row in rows] == ["vanilla (AdamW)", "AdamW, fused", *RULES]
    assert rows[0]["ratio"] == 1 and all(row["ratio"] > 0 and 0 < row["part"] < 100 for row in rows)
    assert rows[-1]["implementation"] in ("native", "blocked")
    printed = capsys.readouterr().out
    assert printed.startswith("test_vit, batch 1, float32; ") and printed.count("\n| ") == 2 + len(rows)


def test_a_step_trains():
    """What is timed is a step: parameters move, gradients are gone afterwards."""
    trained = train.classifier("test_vit", torch.device("cpu"))
    before = [param.detach().clone() for param in trained.params()]
    whole, part = train._step(trained, train._optimizer("DiGraP", trained), batch=1, seed=0)
    assert whole > part > 0
    assert all(param.grad is None for param in trained.params())
    assert not all(torch.equal(old, param) for old, param in zip(before, trained.params(), strict=True))


def test_the_small_paligemma_has_adapters_everywhere():
    trained = train.paligemma(torch.device("cpu"))
    assert sum(param.numel() for param in trained.params()) == 236_544 and trained.anchor == "zero"
    trained.loss(1).backward()
    assert all(param.grad is not None for param in trained.params())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model=vit_b61", "model=vit_b61: Unknown model (vit_b61); nearest: vit_b16"),
        ("batch=0", "batch=0: give a whole number from 1 to 4096"),
        ("out=.", "out=.: give a file that ends in .json or .md"),
    ],
)
def test_bad_arguments_are_one_sentence(argument, message):
    run = call("tools/bench_train.py", argument)
    assert run.returncode == 2 and run.stderr.startswith(f"error: {message}") and run.stderr.count("\n") == 1
