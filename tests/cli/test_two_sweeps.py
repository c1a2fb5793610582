"""Two sweeps over the same runs at once, one with joblib's processes, one without: each run is made once, by either."""

import json

import pytest

from tests.doors import begin, typed
from tests.engine.runs import metrics


@pytest.mark.slow
def test_joblib_and_basic_at_once(small_arguments, tmp_path):
    """wise_ft is initialised from vanilla's run, so both sweeps also make that one's folder."""
    choices = ["optim=vanilla,wise_ft,zero_shot", "trainer.epochs=1"]
    words = ["train.py", "-m", *small_arguments, *choices, f"hydra.sweep.dir={tmp_path}"]
    plain = begin(*words)
    for sweep in (typed(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), plain()):
        assert sweep.returncode == 0, sweep.stderr[-3000:]
    runs = [path.parent for path in tmp_path.glob("*/results.json")]
    made = {json.loads((run / "results.json").read_text())["method"]: run for run in runs}
    assert len(runs) == 3 and made.keys() == {"vanilla", "wise_ft", "zero_shot"}
    events = [record["event"] for record in metrics(made["vanilla"])]
    assert events.count("val") == 1, "made once: a second start would have written its own"
    assert not list(tmp_path.rglob("error.txt")) and not list(tmp_path.rglob("*.tmp"))
