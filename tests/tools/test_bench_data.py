"""tools/bench_data.py runs and prints what it promises; how fast is no test's business."""

import re
import subprocess
import sys

import pytest

from digrap.core.paths import REPO


@pytest.mark.parametrize("backbone", ["moco_resnet50"])
def test_it_prints_both_rates_and_their_ratio(backbone):
    options = ["synthetic=16", "side=64", "batch=8", "rounds=1", f"backbone={backbone}"]
    run = subprocess.run([sys.executable, "tools/bench_data.py", *options], cwd=REPO, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.search(r"16 images, one core: bare decode and resize \d+/s, loader \d+/s, ratio \d\.\d\d", run.stdout)
