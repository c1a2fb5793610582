"""Hooks of methods in a run: held-out batches, variants after the fit, interruptions, several processes."""

import os
import subprocess
import sys

import pytest
import torch

from digrap.config.compose import start_config
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.engine import run as engine
from digrap.engine.evaluate import Evaluator
from digrap.engine.fit import Fit
from digrap.methods.tpgm import TPGM
from digrap.models import mini_resnet as resnet
from tests.engine.runs import cut_and_resume, load_checkpoint, metrics, repeatable, results, weights


def test_held_out_examples_leave_validation_alone(small, tmp_path, monkeypatch):
    """optim.holdout takes the held-out batches from the training split, which gets smaller by them."""
    sizes = []
    build = Fit.__init__

    def spy(self, job):
        build(self, job)
        sizes.append((len(self.train_data), len(job.data.held_out), len(job.data.validation)))
        kept = {tuple(image.flatten().tolist()) for image, _ in job.data.held_out}
        assert not any(tuple(image.flatten().tolist()) in kept for image, _ in self.train_data)

    monkeypatch.setattr(Fit, "__init__", spy)
    engine.run(small("optim=tpgm", "optim.holdout=0.25", "trainer.epochs=1"), tmp_path)
    assert sizes == [(144, 48, 90)]


def test_what_is_held_out_from_a_run_is_held_out_from_its_start(small):
    assert start_config(small("optim=tpgm_once", "optim.holdout=0.25")).optim.holdout == 0.25
    assert (
        start_config(small("optim=tpgm_once", "optim.start={optim: {name: vanilla, holdout: 0.5}}")).optim.holdout
        == 0.5
    )


def test_too_few_held_out_examples_are_named(small, tmp_path):
    with pytest.raises(DigrapError, match="0 held-out examples are too few"):
        engine.run(small("optim=tpgm", "optim.holdout=0.001"), tmp_path)


@pytest.mark.slow
def test_variants_are_tested_once_across_an_interruption(small, tmp_path, monkeypatch):
    cfg = small("optim=wise_ft", "optim.curve=[0.0,1.0]")
    engine.run(cfg, tmp_path / "whole")
    score, tested = Evaluator.score, []

    def interrupted(*args):
        if len(tested) == 2:
            raise KeyboardInterrupt
        tested.append(1)
        return score(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "score", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, tmp_path / "cut")
    tested.clear()
    monkeypatch.setattr(Evaluator, "score", lambda *args: tested.append(1) or score(*args))
    engine.run(cfg, tmp_path / "cut")
    assert len(tested) == 1 and repeatable(tmp_path / "cut") == repeatable(tmp_path / "whole")
    assert not (tmp_path / "cut" / "variants.json").exists()


def test_held_out_batches_do_not_depend_on_the_micro_batch(small, tmp_path):
    """The gradient of γ is accumulated: less memory is the same method."""
    found = []
    for micro in (32, 16):
        engine.run(small("optim=tpgm", f"trainer.micro_batch={micro}", "trainer.epochs=1"), tmp_path / str(micro))
        found.append(weights(tmp_path / str(micro)))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-2, atol=2e-3)


@pytest.mark.slow
def test_resume_is_bit_equal_with_dropout(small, tmp_path, monkeypatch):
    """What loaders draw must not move the generator that dropout uses."""
    make = resnet.build_module

    def with_dropout(classes):
        module = make(classes)
        module.global_pool = torch.nn.Sequential(module.global_pool, torch.nn.Dropout(0.3))
        return module

    monkeypatch.setattr(resnet, "build_module", with_dropout)
    cfg = small("optim=tpgm", "trainer.checkpoint_minutes=0")
    engine.run(cfg, tmp_path / "whole")
    cut_and_resume(monkeypatch, cfg, tmp_path / "cut", 9)
    cut, whole = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(cut[key], whole[key]) for key in whole)


def test_resume_is_bit_equal_with_running_statistics(small, tmp_path, monkeypatch):
    """Batch norm's buffers change without training: they are saved too, and tested as they were at the best epoch."""
    make = resnet.build_module

    def with_norm(classes):
        module = make(classes)
        module.global_pool = torch.nn.Sequential(
            module.global_pool, torch.nn.BatchNorm1d(module.fc.in_features, affine=False)
        )
        return module

    monkeypatch.setattr(resnet, "build_module", with_norm)
    cfg = small("optim=vanilla", "backbone.pretrained=false", "trainer.checkpoint_minutes=0")
    engine.run(cfg, tmp_path / "whole")
    cut_and_resume(monkeypatch, cfg, tmp_path / "cut", 9)
    cut, whole = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert "global_pool.1.running_mean" in whole and repeatable(tmp_path / "cut") == repeatable(tmp_path / "whole")
    assert cut.keys() == whole.keys() and all(torch.equal(cut[key], whole[key]) for key in whole)


def test_weights_that_are_not_finite_never_become_a_checkpoint(small, tmp_path, monkeypatch):
    """A projection can spoil weights after a finite training loss, on an epoch's last step."""
    make = TPGM.__call__

    def spoiling(self, context):
        project = make(self, context)
        true, calls = project.held_out.gradient, iter(range(1, 100))
        project.held_out.gradient = lambda *a: true(*a) * (float("nan") if next(calls) == 12 else 1.0)
        return project

    monkeypatch.setattr(TPGM, "__call__", spoiling)
    with pytest.raises(DigrapError, match=r"weights are not finite at step 12; the last good checkpoint is .*00000006"):
        engine.run(small("optim=tpgm", "log_every=100"), tmp_path)
    kept = load_checkpoint(tmp_path / "checkpoints")
    assert kept["position"]["step"] == 6 and all(value.isfinite().all() for value in kept["module"].values())


@pytest.mark.slow
def test_two_processes_finish(small_arguments, tmp_path):
    """Phases and held-out batches under DDP on the CPU."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
        "train.py", *small_arguments, "optim=tpgm", "trainer.micro_batch=16", "trainer.epochs=1",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    assert results(tmp_path / "run")["scores"]["sketch"]["n"] == 45


@pytest.mark.slow
def test_two_processes_log_the_loss_of_both(small, small_arguments, tmp_path):
    """WiSE-FT tests its variants, and of the run before it the loss is the mean over the whole batch, as one process
    that accumulates it logs it: each of two sees other examples."""
    options = ("trainer.micro_batch=16", "trainer.epochs=1", "trainer.checkpoint_minutes=0")
    engine.run(small("optim=vanilla", *options), tmp_path / "one")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
        "train.py", *small_arguments, *options, "optim=wise_ft", f"hydra.run.dir={tmp_path / 'both' / 'wise'}",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    assert results(tmp_path / "both" / "wise")["scores"]["sketch"]["n"] == 45
    two = tmp_path / "both" / results(tmp_path / "both" / "wise")["start"]["hash"]
    one, two = ([event["loss"] for event in metrics(folder) if event["event"] == "train"]
                for folder in (tmp_path / "one", two))  # fmt: skip
    assert len(one) == 3 and two == pytest.approx(one, rel=1e-3)
