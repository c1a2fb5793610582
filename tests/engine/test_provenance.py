"""What a run records beside its scores: commit, throughput, memory, and how far each layer moves."""

import json
import subprocess
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from digrap.engine import provenance
from digrap.engine import run as engine
from digrap.models.mini_resnet import WEIGHTS
from digrap.optim.paths import implementations
from digrap.runs.results_shape import KEYS
from tests.engine.runs import metrics, results


def test_throughput_and_memory_are_recorded(small, tmp_path):
    engine.run(small("optim=vanilla", "trainer.epochs=1"), tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["trained_per_s"] > 0 and facts["evaluated_per_s"] > 0 and facts["peak_memory"]["host_mb"] > 50
    assert set(facts["tested"]) == set(results(tmp_path)["scores"])
    for split, found in facts["tested"].items():
        assert found["answered"] == results(tmp_path)["scores"][split]["n"] and found["per_s"] > 0
        assert 50 < found["peak_memory"]["host_mb"] <= facts["peak_memory"]["host_mb"]
    assert results(tmp_path)["measured"] == {key: facts[key] for key in ("evaluated_per_s", "peak_memory")}
    assert results(tmp_path).keys() <= KEYS
    assert facts["base"]["sha256"] == facts["weights"].get("sha256", facts["base"]["sha256"])


@pytest.mark.parametrize("place", ["cpu", "cpu:0", "mps:0"])
def test_a_device_is_named_alike_in_several_processes(place):
    accelerator = SimpleNamespace(device=torch.device(place))
    assert provenance.device_name(accelerator) == place.partition(":")[0]


def test_displacement_is_recorded_for_every_method(small, tmp_path):
    """Vanilla's optimizer has no anchors of its own; the distances are those of the tested weights' last epoch."""
    engine.run(small("optim=vanilla", "trainer.validate_every=2"), tmp_path)
    last = [event for event in metrics(tmp_path) if event["event"] == "layers"][-1]["tensors"]
    before, after = load_file(WEIGHTS), load_file(tmp_path / results(tmp_path)["weights"])
    assert last.keys() == before.keys()
    for name, numbers in last.items():
        delta, start = after[name].double() - before[name].double(), before[name].double()
        assert numbers["norm"] == pytest.approx(delta.norm().item(), rel=1e-6)
        assert numbers["relative"] == pytest.approx((delta.norm() / start.norm()).item(), rel=1e-6)


def test_only_what_makes_results_makes_a_commit_dirty(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(tmp_path)]
    for name in ("digrap/a.py", "configs/best/mini/a.yaml", "docs/results/mini/mini.md", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    monkeypatch.setattr(provenance, "REPO", tmp_path)
    for name in ("configs/best/mini/a.yaml", "docs/results/mini/mini.md", "README.md"):
        (tmp_path / name).write_text("2\n")
    assert provenance.commit()["dirty"] is False
    (tmp_path / "digrap" / "a.py").write_text("2\n")
    assert provenance.commit()["dirty"] is True
    monkeypatch.setattr(provenance, "REPO", tmp_path / "digrap" / "nowhere")
    assert provenance.commit() == {"commit": "unknown", "dirty": None}


@pytest.mark.parametrize(("optim", "name"), [("digrap", "DiGraP"), ("vanilla", "AdamW")])
def test_the_optimizers_implementation_is_recorded(small, tmp_path, optim, name):
    with implementations("blocked"):  # as without a compiler
        engine.run(small(f"optim={optim}", "trainer.epochs=1"), tmp_path)
    found = json.loads((tmp_path / "run.json").read_text())["optimizer"]
    assert found == {"name": name, "implementation": "blocked" if optim == "digrap" else None}
