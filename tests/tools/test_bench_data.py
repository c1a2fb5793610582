"""tools/bench_data.py runs and prints what it promises; how fast is no test's business."""

import re

import pytest

from tests.doors import call


@pytest.mark.parametrize("backbone", ["moco_resnet50"])
def test_it_prints_both_rates_and_their_ratio(backbone):
    options = ["synthetic=16", "side=64", "batch=8", "rounds=1", f"backbone={backbone}"]
    run = call("tools/bench_data.py", *options)
    assert run.returncode == 0, run.stderr
    assert re.search(r"16 images, one core: bare decode and resize \d+/s, loader \d+/s, ratio \d\.\d\d", run.stdout)
