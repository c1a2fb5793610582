"""Configs and runs of the first release are read under today's names."""

import json

import pytest
from omegaconf import OmegaConf

from digrap.config import first_release
from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.config.schema import typed
from digrap.engine.build import build_backbone
from digrap.runs.folder import RunFolder


def first_config(*overrides):
    """What the first release wrote as config.yaml."""
    plain = OmegaConf.to_container(compose(list(overrides)))
    for key, first in first_release.KEYS.items():
        first_release.put(plain, first, first_release.take(plain, key))
    del plain["dataset"]["task"]
    targets = json.dumps(plain)
    for today, first in first_release.TARGETS.items():
        targets = targets.replace(today, first)
    return OmegaConf.create(json.loads(targets))


@pytest.mark.parametrize("overrides", [[], ["dataset=domainnet"], ["optim=tpgm", "optim.holdout=0.25"]])
def test_an_old_config_is_todays(tmp_path, overrides):
    run = RunFolder(tmp_path)
    run.write_config(first_config(*overrides))
    assert "metric: accuracy" in run.config_file.read_text()
    today, found = compose(overrides), run.config()
    assert found.dataset.select_by == "accuracy" and found.optim.holdout == today.optim.holdout
    assert found.backbone._target_ == today.backbone._target_
    assert run_hash(found) == run_hash(today)


def test_an_old_run_builds(tmp_path):
    run = RunFolder(tmp_path)
    run.write_config(first_config())
    assert build_backbone(typed(run.config()), tuple("a" * 45)).has_head
