"""What tests of runs share: a run's results and weights, an interruption, and evaluate.py in this process."""

import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import load_file

from digrap.core.paths import CONFIGS
from digrap.engine import checkpoint
from digrap.engine import run as engine
from digrap.engine.fit import Fit
from digrap.engine.rescore import rescore


def results(folder):
    return json.loads((folder / "results.json").read_text())


def repeatable(folder):
    """What equal runs have in common of their results: all but the speed and memory of one start."""
    return {key: value for key, value in results(folder).items() if key != "measured"}


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / results(folder)["weights"])


def load_checkpoint(root):
    """The newest checkpoint's state under `root`, on whatever pre-trained weights it stands."""
    return checkpoint.load(root, checkpoint.manifest(checkpoint.folders(root)[-1])["base"])


def crash_at(monkeypatch, step):
    take = Fit._step

    def crashing(self, batches):
        if self.position.step == step:
            raise KeyboardInterrupt
        take(self, batches)

    monkeypatch.setattr(Fit, "_step", crashing)


def cut_and_resume(monkeypatch, cfg, folder, step):
    """Make a run that is interrupted after optimizer step `step` and resumed."""
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, folder)
    engine.run(cfg, folder)


def finished_run(folder, cfg):
    """Make a run; its folder and its config."""
    engine.run(cfg, folder)
    return folder, cfg


def assert_resume_is_bit_equal(monkeypatch, finished, folder):
    """A run as the finished one, interrupted after five steps and resumed, leaves what that has left."""
    whole, cfg = finished
    cut_and_resume(monkeypatch, OmegaConf.merge(cfg, {"trainer": {"checkpoint_minutes": 0}}), folder, 5)
    assert repeatable(folder) == repeatable(whole) and metrics(folder) == metrics(whole)
    cut, expected = weights(folder), weights(whole)
    assert all(torch.equal(cut[name], expected[name]) for name in expected)


def evaluate(*overrides):
    """The result of `python evaluate.py split=sketch <overrides>` on the CPU."""
    given = {option.partition("=")[0]: option for option in ("device=cpu", "split=sketch", *overrides)}
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("evaluate", overrides=list(given.values()))
    return rescore(cfg)
