"""What training says as it goes, and the options that end, bound and smooth it."""

import json
import logging
import re

import pytest
import torch

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine.fit import Fit
from digrap.engine.run import run
from tests.engine.runs import metrics

LINE = re.compile(r"epoch (\d)/(\d)  loss (\S+)(?:  val (\S+)( \(best\))?)?  lr (\S+)  \S+ steps/s")


def lines(caplog):
    return [found.groups() for record in caplog.records if (found := LINE.fullmatch(record.getMessage()))]


def test_a_line_an_epoch(small, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(small("optim=vanilla", "trainer.epochs=3", "trainer.validate_every=2", "log_every=4"), tmp_path)
    assert (
        "192 training pictures in 45 classes, 6 steps per epoch, 0.377 M of 0.377 M parameters trainable"
        in caplog.messages
    )
    told = lines(caplog)
    assert [(number, of) for number, of, *_ in told] == [("1", "3"), ("2", "3"), ("3", "3")]
    records = metrics(tmp_path)
    scores = {record["epoch"]: record["accuracy"] for record in records if record["event"] == "val"}
    assert [val for _, _, _, val, *_ in told] == [None, f"{scores[2]:.1f}", f"{scores[3]:.1f}"]
    best = max(scores, key=scores.get)
    assert [number for number, *_, mark, _ in told if mark] == [
        str(number) for number in scores if scores[number] == max(scores[k] for k in scores if k <= number)
    ]
    assert str(best) in [number for number, *_, mark, _ in told if mark]
    for number, _, loss, *_ in told:  # 6 steps an epoch, lines of metrics after 4 steps and at its end
        parts = [
            record
            for record in records
            if record["event"] == "train" and int(number) - 1 < record["epoch"] <= int(number)
        ]
        steps = [
            b["step"] - a for a, b in zip([6 * (int(number) - 1), *(one["step"] for one in parts)], parts, strict=False)
        ]
        mean = sum(part["loss"] * count for part, count in zip(parts, steps, strict=True)) / 6
        assert float(loss) == pytest.approx(mean, rel=1e-3)


def test_an_epochs_line_has_the_memory_of_a_device_that_counts_it(small, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("digrap.engine.provenance._peak", lambda _: {"host_mb": 900.0, "device_mb": 25_840.0})
    caplog.set_level(logging.INFO)
    run(small("optim=vanilla", "trainer.epochs=1"), tmp_path)
    assert re.search(r"epoch 1/1 .* steps/s  25.8 GB$", caplog.text, re.MULTILINE)


@pytest.mark.parametrize(("steps", "epochs"), [(4, 1), (6, 1), (7, 2)])
def test_max_steps_ends_a_run(small, tmp_path, steps, epochs):
    """Six steps are an epoch; the weights after the last step are validated."""
    run(small("optim=vanilla", "trainer.epochs=5", f"trainer.max_steps={steps}"), tmp_path)
    found = [record for record in metrics(tmp_path) if record["event"] == "val"]
    assert [(record["epoch"], record["step"]) for record in found][-1] == (epochs, steps)
    assert len(found) == epochs
    assert json.loads((tmp_path / "run.json").read_text())["total_steps"] == steps


@pytest.mark.slow
def test_a_run_of_max_steps_is_the_beginning_of_the_longer_one(small, tmp_path):
    for name, more in (("short", ["trainer.max_steps=9"]), ("long", [])):
        run(small("optim=vanilla", "trainer.epochs=3", "log_every=1", *more), tmp_path / name)
    short, long = (
        [record["loss"] for record in metrics(tmp_path / name) if record["event"] == "train"]
        for name in ("short", "long")
    )
    assert len(short) == 9 and short == long[:9]


def stepped(small, tmp_path, monkeypatch, *overrides):
    """The norm of each step's whole gradient, as the optimizer gets it."""
    norms, step = [], Fit._step

    def watched(self, batches):
        if not norms:
            self.optimizer.register_step_pre_hook(
                lambda optimizer, *_: norms.append(
                    torch.linalg.vector_norm(
                        torch.stack([p.grad.norm() for group in optimizer.param_groups for p in group["params"]])
                    ).item()
                )
            )
            norms.append(None)
        step(self, batches)

    monkeypatch.setattr(Fit, "_step", watched)
    run(small("optim=vanilla", "trainer.max_steps=4", *overrides), tmp_path)
    return norms[1:]


def test_clip_grad_bounds_the_whole_gradient(small, tmp_path, monkeypatch):
    free = stepped(small, tmp_path / "free", monkeypatch)
    bound = min(free) / 2
    clipped = stepped(small, tmp_path / "clipped", monkeypatch, f"trainer.clip_grad={bound}", "trainer.micro_batch=16")
    assert clipped == pytest.approx([bound] * 4, rel=1e-3)


def test_label_smoothing_is_in_the_loss(small, tmp_path):
    first = {}
    for smoothing in (0.0, 0.5):
        folder = tmp_path / str(smoothing)
        cfg = small("optim=vanilla", "trainer.max_steps=1", "log_every=1", f"trainer.label_smoothing={smoothing}")
        run(cfg, folder)
        first[smoothing] = next(record["loss"] for record in metrics(folder) if record["event"] == "train")
    assert first[0.5] > first[0.0]  # the classes' mean loss is larger than the label's


def test_answers_have_no_label_smoothing(tmp_path):
    with pytest.raises(
        DigrapError, match="trainer.label_smoothing=0.1: the loss of text answers has no label smoothing"
    ):
        run(compose(["dataset=minivqa", "trainer.label_smoothing=0.1"]), tmp_path)


def test_a_run_at_chance_says_so(small, tmp_path, caplog):
    run(small("optim=vanilla", "trainer.base.lr=0", "trainer.max_steps=2", "backbone.pretrained=false"), tmp_path)
    assert "this run has learnt next to nothing" in caplog.text
    assert "more trainer.epochs, a smaller trainer.batch_size (now 32), or another backbone" in caplog.text


def test_a_run_that_was_best_at_first_says_so(small, tmp_path, caplog):
    run(small("optim=vanilla", "trainer.base.lr=1", "trainer.epochs=3"), tmp_path)
    val = [record["accuracy"] for record in metrics(tmp_path) if record["event"] == "val"]
    assert ("the best epoch is 1, the first that was validated" in caplog.text) == (
        max(val) == val[0] and "next to nothing" not in caplog.text
    )
