"""trainer.profile: a trace of a few steps; nothing else of the run differs."""

import json
import logging

import pytest
import torch

from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from digrap.engine.profiling import STEPS, UNTRACED, WARM_UP
from digrap.runs.written import is_written
from tests.engine.runs import results, weights


def test_the_trace_is_written_and_changes_nothing(small, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    plain, traced = (small(f"trainer.profile={flag}") for flag in ("false", "true"))
    assert run_hash(traced) == run_hash(plain)
    engine.run(plain, tmp_path / "plain")
    assert not (tmp_path / "plain" / "trace.json").exists()
    engine.run(traced, tmp_path / "traced")
    file = tmp_path / "traced" / "trace.json"
    events = json.loads(file.read_text())["traceEvents"]
    names = [event.get("name", "") for event in events]
    assert sum(name.startswith("Optimizer.step#DiGraP") for name in names) == STEPS
    assert any("backward" in name.lower() for name in names)
    assert f"a trace of {STEPS} steps: {file}" in caplog.text
    assert is_written("trace.json") and all(is_written(path.name) for path in file.parent.glob(".*"))
    torch.testing.assert_close(weights(tmp_path / "traced"), weights(tmp_path / "plain"), rtol=0, atol=0)
    assert results(tmp_path / "traced")["scores"] == results(tmp_path / "plain")["scores"]


@pytest.mark.parametrize("steps", [UNTRACED, UNTRACED + WARM_UP + STEPS - 1])
def test_too_few_steps_give_no_trace_and_say_so(small, tmp_path, caplog, steps):
    sizes = [f"dataset.splits.real_train.size={32 * steps}", "trainer.epochs=1"]
    engine.run(small("optim=vanilla", "trainer.profile=true", *sizes), tmp_path)
    assert not (tmp_path / "trace.json").exists()
    assert f"no trace, because this start took fewer than {UNTRACED + WARM_UP + STEPS} steps" in caplog.text


def test_another_value_is_refused(small):
    with pytest.raises(DigrapError, match=r"^trainer\.profile: Value 'steps' is not a valid bool"):
        run_hash(small("trainer.profile=steps"))
