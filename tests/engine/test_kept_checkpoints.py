"""Checkpoints of a finished run where they are asked for, and what a finished or a busy run says."""

import pytest

from digrap.config.identity import run_hash
from digrap.core.errors import Busy
from digrap.engine import checkpoint
from digrap.engine import run as engine
from digrap.runs.folder import RunFolder
from digrap.runs.lock import hold


def test_checkpoints_are_kept_where_that_is_asked_for(small, tmp_path):
    cfg = small("optim=vanilla", "trainer.keep_checkpoints=true")
    assert run_hash(cfg) == run_hash(small("optim=vanilla"))
    engine.run(cfg, tmp_path)
    steps = RunFolder(tmp_path).checkpoint_steps()
    assert steps == [6, 12] and checkpoint.load(tmp_path / "checkpoints", checkpoint.manifest(
        RunFolder(tmp_path).checkpoint(12))["base"])["position"]["step"] == 12  # fmt: skip
    engine.run(small("optim=vanilla"), tmp_path)  # a sweep, say, that comes upon the finished run
    assert RunFolder(tmp_path).checkpoint_steps() == steps


def test_a_finished_and_a_busy_run_say_how_to_go_on(small, tmp_path, caplog):
    cfg = small("optim=zero_shot")
    caplog.set_level("INFO")
    with hold(RunFolder(tmp_path / "run")), pytest.raises(Busy, match="wait=true waits for it"):
        engine.run(cfg, tmp_path / "run")
    engine.run(cfg, tmp_path / "run")
    engine.run(cfg, tmp_path / "run")
    assert "add fresh=true to repeat it in run-fresh1" in caplog.text
