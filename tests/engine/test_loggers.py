"""Weights & Biases: every run of a process is one of its own there, and each is ended."""

import sys
import time

import pytest
import wandb

from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from digrap.engine.fit import Fit
from digrap.engine.loggers import sinks, tracked_id
from tests.engine.runs import crash_at, metrics
from tests.engine.servers import silent

QUICK = ("logger=wandb", "trainer.epochs=1")


@pytest.fixture
def ended(monkeypatch):
    """(id, exit code) of every Weights & Biases run that is finished."""
    found, finish = [], wandb.sdk.wandb_run.Run.finish

    def noting(self, exit_code=None):
        found.append((self.id, exit_code))
        finish(self, exit_code)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "finish", noting)
    return found


def stored(folder):
    """The names of the files with what was logged: wandb makes one when a run's first record comes."""
    return [path.name for path in folder.glob("wandb/offline-run-*/*.wandb") if path.stat().st_size]


@pytest.mark.slow
def test_every_run_of_a_process_is_kept(small, tmp_path, ended):
    first, second = small(*QUICK, "optim=lp_ft"), small(*QUICK, "optim=lp")
    folder, start = tmp_path / run_hash(first), tmp_path / run_hash(second)
    engine.run(first, folder)
    assert [stored(path) for path in (start, folder)] == [
        [f"run-minidomainnet-{path.name}.wandb"] for path in (start, folder)
    ]
    assert ended == [(f"minidomainnet-{path.name}", 0) for path in (start, folder)]
    engine.run(small(*QUICK, "optim=lp", "fresh=true"), start)
    assert ended[2:] == [(f"minidomainnet-{start.name}-fresh1", 0)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, DigrapError("the loss is nan")])
def test_what_ends_a_run_ends_it_there_too(small, tmp_path, ended, monkeypatch, error):
    def fail(*_):
        raise error

    cfg = small(*QUICK)
    with monkeypatch.context() as patch, pytest.raises(error if isinstance(error, type) else type(error)):
        patch.setattr(Fit, "_end_epoch", fail)
        engine.run(cfg, tmp_path / run_hash(cfg))
    engine.run(cfg, tmp_path / run_hash(cfg))
    name = f"minidomainnet-{run_hash(cfg)}"
    assert ended == [(name, 1), (name, 0)], "the resumed run goes on under its id"


def test_a_run_that_cannot_be_begun_is_one_message(small, tmp_path, monkeypatch):
    def refuse(**_):
        raise wandb.errors.UsageError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(DigrapError, match=r"logger=wandb: .*api_key not configured.*wandb login.*logger.mode=offline"):
        engine.run(small(*QUICK), tmp_path / "run")


def test_a_run_is_done_though_it_could_not_be_ended_there(small, tmp_path, monkeypatch, caplog):
    def fail(self, exit_code=None):
        raise TimeoutError("no answer")

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "finish", fail)
    engine.run(small(*QUICK, "optim=zero_shot"), tmp_path / "run")
    assert (tmp_path / "run" / "results.json").exists() and "was not finished (no answer)" in caplog.text


def test_ids_hold_only_what_wandb_takes(small, tmp_path):
    cfg = small("dataset.name=my set: 1/2")
    assert tracked_id(cfg, tmp_path / run_hash(cfg)) == f"my-set--1-2-{run_hash(cfg)}"
    assert tracked_id(cfg, tmp_path / "a b") == f"my-set--1-2-{run_hash(cfg)}-a-b"


@pytest.mark.slow
@pytest.mark.parametrize("greets", [False, True])
def test_a_server_that_hangs_stops_nothing(small, tmp_path, monkeypatch, caplog, greets):
    """It takes the connection, or answers a greeting, and then nothing: the run is on disk within half a minute."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()
    with silent(greets) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server)
        started = time.monotonic()
        engine.run(small(*QUICK, "logger.mode=online"), tmp_path / "run")
        assert time.monotonic() - started < 90
    wandb.teardown()
    assert (tmp_path / "run" / "results.json").exists() and len(stored(tmp_path / "run")) == 1
    assert "scripts/sync.py uploads it" in caplog.text


def test_a_sink_that_fails_is_given_up_once(small, tmp_path, monkeypatch, caplog):
    calls = []

    def fail(self, *args, **kwargs):
        calls.append(args)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", fail)
    with sinks(small(*QUICK), tmp_path) as (sink,):
        for step in (1, 2):
            sink({"event": "train", "step": step, "loss": 1.0})
    assert len(calls) == 1 and caplog.text.count("nothing more is written there ([Errno 28] No space left") == 1


@pytest.mark.slow
def test_tensorboard_has_the_numbers_of_the_metrics(small, tmp_path, monkeypatch):
    """Once each, though the run was interrupted and wrote some of them twice."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    cfg = small("logger=tensorboard", "log_every=1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        crash_at(patch, 9)
        engine.run(cfg, tmp_path)
    engine.run(cfg, tmp_path)
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = {event["step"]: event["loss"] for event in metrics(tmp_path) if event["event"] == "train"}
    assert {event.step: event.value for event in found.Scalars("train/loss")} == pytest.approx(losses)
    assert len(found.Scalars("train/loss")) == len(losses) == 12


def test_tensorboard_that_is_not_installed(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DigrapError, match="logger=tensorboard needs the package .*`python -m pip install tensorboard`"):
        engine.run(small("logger=tensorboard"), tmp_path)
