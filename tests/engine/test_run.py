"""Runs of the engine on a small miniature: results, resume, what goes wrong."""

import json
import threading
import time

import pytest
import torch
from filelock import FileLock
from omegaconf import OmegaConf
from safetensors.torch import load_file

from digrap.config.compose import start_config
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine import build, checkpoint
from digrap.engine import run as engine
from digrap.engine.evaluate import Evaluator
from digrap.models.backbone import Backbone
from digrap.report.layers import mean_over_seeds
from digrap.runs.folder import RunFolder
from digrap.runs.history import history_of
from digrap.runs.predictions import PREDICTIONS, read_bundle
from digrap.tasks.classification import Classification
from tests.engine.runs import crash_at, load_checkpoint, metrics, repeatable, results


def test_a_run_leaves_everything_it_should(small, tmp_path):
    score = engine.run(small(), tmp_path)
    result = results(tmp_path)
    assert score == result["selection"]["score"]
    assert set(result["scores"]) == {"real_val", "real", "clipart", "sketch", "painting", "infograph", "quickdraw"}
    assert result["scores"]["real_val"]["n"] == 90 and result["scores"]["sketch"]["kind"] == "near_ood"
    assert {"seed", "commit", "dirty", "device", "versions", "hash"} <= set(result)
    assert json.loads((tmp_path / "run.json").read_text())["wall_s"] > 0
    assert OmegaConf.load(tmp_path / "config.yaml").optim.name == "digrap"
    events = metrics(tmp_path)
    validations = [event for event in events if event["event"] == "val"]
    assert [event["epoch"] for event in validations] == [1, 2]
    assert max(event["accuracy"] for event in validations) == score
    assert [event["step"] for event in events if event["event"] == "train"] == [2, 4, 6, 8, 10, 12]
    layers = [event for event in events if event["event"] == "layers"]
    assert [event["step"] for event in layers] == [2, 3, 4, 6, 8, 9, 10, 12] and "fc.weight" in layers[-1]["tensors"]
    for event in layers:
        known = {"omega"} if event["step"] % 6 else {"omega", "removed", "conflict", "norm", "relative"}
        assert all(set(numbers) == known for numbers in event["tensors"].values())
    history = history_of(RunFolder(tmp_path))
    for statistic, steps in (("omega", [2, 3, 4, 6, 8, 9, 10, 12]), ("norm", [6, 12])):
        assert list(mean_over_seeds([history], statistic, "steps").index) == steps
        whole = mean_over_seeds([history], statistic, "epochs")
        assert list(whole.index) == [1, 2]
        assert whole["fc.weight"].tolist() == pytest.approx(
            [event["tensors"]["fc.weight"][statistic] for event in (layers[3], layers[7])]
        )
    assert (tmp_path / result["weights"]).exists() and not checkpoint.folders(tmp_path / "checkpoints")
    bundle = read_bundle(tmp_path / PREDICTIONS, tmp_path.parent)
    for split, scores in result["scores"].items():
        assert 100 * bundle.example_scores(split, "accuracy").mean() == pytest.approx(scores["accuracy"])


def test_done_is_said_and_not_done_again(small, tmp_path, monkeypatch, caplog):
    first = engine.run(small("optim=zero_shot"), tmp_path)
    monkeypatch.setattr(engine, "_run", lambda *_: pytest.fail("ran again"))
    with caplog.at_level("INFO"):
        assert engine.run(small("optim=zero_shot"), tmp_path) == first
    assert "is already done" in caplog.text


def test_the_best_epoch_is_tested(small, tmp_path, monkeypatch):
    scores, kept = iter([50.0, 90.0, 20.0]), {}
    monkeypatch.setattr(Evaluator, "validate", lambda *args: next(scores))
    write = checkpoint.write_weights

    def keeping(file, *args):
        digest = write(file, *args)
        kept.update(load_file(file))
        return digest

    monkeypatch.setattr(checkpoint, "write_weights", keeping)
    engine.run(small("trainer.epochs=3"), tmp_path)
    assert results(tmp_path)["selection"]["epoch"] == 2
    tested = load_file(tmp_path / results(tmp_path)["weights"])
    assert all(torch.equal(tested[name], kept[name]) for name in kept)


@pytest.mark.parametrize("step", [1, 6, 9])
def test_resume_is_bit_equal(small, tmp_path, monkeypatch, step):
    """At a step inside an epoch and at its end; tests/engine/test_methods.py does it for every method."""
    cfg = small("trainer.checkpoint_minutes=0")
    engine.run(cfg, tmp_path / "whole")
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, tmp_path / "cut")
    assert load_checkpoint(tmp_path / "cut" / "checkpoints")["position"]["step"] == step
    engine.run(cfg, tmp_path / "cut")
    assert repeatable(tmp_path / "cut") == repeatable(tmp_path / "whole")
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    cut, whole = (load_file(tmp_path / name / results(tmp_path / name)["weights"]) for name in ("cut", "whole"))
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


def test_accumulation_equals_one_batch(small, tmp_path):
    whole = engine.run(small("trainer.epochs=1"), tmp_path / "a")
    parts = engine.run(small("trainer.epochs=1", "trainer.micro_batch=16"), tmp_path / "b")
    assert abs(whole - parts) < 5
    weights = [load_file(tmp_path / name / results(tmp_path / name)["weights"]) for name in "ab"]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-2, atol=2e-3)


def test_a_batch_that_does_not_divide_is_refused(small, tmp_path):
    with pytest.raises(DigrapError, match="micro_batch=24 × 1 processes; give trainer.micro_batch=16"):
        engine.run(small("trainer.micro_batch=24"), tmp_path)
    with pytest.raises(DigrapError, match="192 examples"):
        engine.run(small("trainer.batch_size=256"), tmp_path / "b")


def test_a_loss_that_is_not_finite_stops(small, tmp_path, monkeypatch):
    true_loss = Classification.loss
    calls = iter(range(100))
    monkeypatch.setattr(Classification, "loss", lambda *a: true_loss(*a) * (float("nan") if next(calls) == 8 else 1.0))
    with pytest.raises(DigrapError, match=r"loss is nan at step 9; the last good checkpoint is .*step-00000006"):
        engine.run(small(), tmp_path)
    assert load_checkpoint(tmp_path / "checkpoints")["position"]["step"] == 6


def test_a_full_disk_names_the_good_checkpoint(small, tmp_path, monkeypatch):
    save = torch.save
    count = iter(range(100))

    def fill(value, file):
        if next(count) >= 1:
            raise OSError(28, "No space left on device")
        save(value, file)

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(DigrapError, match="No space left.*step-00000006"):
        engine.run(small(), tmp_path)
    monkeypatch.undo()
    engine.run(small(), tmp_path)
    assert results(tmp_path)["selection"]["epoch"] in (1, 2)


def test_a_damaged_checkpoint_stops_the_run(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        crash_at(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            engine.run(small(), tmp_path)
    file = checkpoint.folders(tmp_path / "checkpoints")[-1] / "state.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DigrapError, match=r"step-\d+ is damaged"):
        engine.run(small(), tmp_path)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.mu=-1", "optim=digrap: Invalid mu: mu=-1"),
        ("optim.lam=-0.5", "Invalid lam: lam=-0.5"),
        ("optim.rule=conflikt", "rule='conflikt' is not one of 'conflict', 'listing'"),
        ("optim.normalize=row", "normalize='row' is not one of 'rows'"),
        ("optim.omega=2", "omega=2 is outside"),
    ],
)
def test_a_method_names_its_bad_option(small, tmp_path, override, message):
    with pytest.raises(DigrapError, match=message):
        engine.run(small(override), tmp_path)


def test_two_processes_never_write_one_folder(small, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(DigrapError, match="another process"):
        engine.run(small(), tmp_path)


def test_damaged_results_are_named(small, tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(DigrapError, match="results.json is damaged"):
        engine.run(small(), tmp_path)


def test_a_device_that_is_not_there(small, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(DigrapError, match="device=cuda"):
        engine.run(small("device=cuda"), tmp_path)


def test_wandb_is_an_option(small, tmp_path):
    engine.run(small("logger=wandb", "trainer.epochs=1"), tmp_path)
    assert list((tmp_path / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize("name", ["start", "dropped", "decoding", "scores", "measured"])
def test_a_remark_of_a_backbone_overwrites_nothing_in_results(small, tmp_path, monkeypatch, name):
    """It is refused before anything trains."""
    cfg = small("optim=zero_shot")

    remarked = Backbone(torch.nn.Linear(1, 1), None, remarks={name: "mine", "adapters": "two"})
    monkeypatch.setattr(build, "_target", lambda group, node: lambda **options: remarked)
    with pytest.raises(DigrapError, match=f"its remarks contain {name}, a key that results.json has already; rename"):
        build.build_backbone(cfg, ("a",))


def test_fresh_makes_a_finished_run_once_more_beside_it(small, tmp_path, caplog):
    old = tmp_path / "0123456789"
    engine.run(small("optim=zero_shot", "fresh=true"), old)  # nothing is there yet: the folder itself
    before = repeatable(old)
    with caplog.at_level("INFO"):
        engine.run(small("optim=zero_shot", "fresh=true"), old)
    assert repeatable(tmp_path / "0123456789-fresh1") == before and "its scores equal those of" in caplog.text
    engine.run(small("optim=zero_shot", "fresh=true"), old)
    assert (tmp_path / "0123456789-fresh2" / "results.json").exists() and repeatable(old) == before


def test_what_ended_a_run_is_kept_until_it_starts_again(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Classification, "loss", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.run(small(), tmp_path)
    note = (tmp_path / "error.txt").read_text()
    assert "Traceback" in note and note.rstrip().endswith("ZeroDivisionError: division by zero")
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["total_steps"] == 12 and about["host"]
    engine.run(small(), tmp_path)
    assert not (tmp_path / "error.txt").exists()


def test_a_start_that_another_process_makes_is_waited_for(small, tmp_path):
    """The earlier run's folder is held: the later one goes on when it is free."""
    cfg = small("optim=wise_ft", "optim.curve=[]")
    beside = tmp_path / run_hash(start_config(cfg))
    beside.mkdir()
    held, free = threading.Event(), threading.Event()

    def hold():
        with FileLock(beside / ".lock"):
            held.set()
            free.wait(2.0)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    started = time.monotonic()
    engine.run(cfg, tmp_path / "wise")
    other.join()
    assert time.monotonic() - started > 2.0
    assert results(tmp_path / "wise")["start"]["hash"] == beside.name


@pytest.mark.slow
def test_channels_last_and_compile(small, tmp_path):
    """The same training up to rounding, in another memory layout and through torch.compile."""
    plain = engine.run(small("trainer.epochs=1"), tmp_path / "plain")
    other = engine.run(small("trainer.epochs=1", "trainer.channels_last=true", "trainer.compile=eager"), tmp_path / "o")
    assert abs(plain - other) < 5
    first, second = (load_file(tmp_path / name / results(tmp_path / name)["weights"]) for name in ("plain", "o"))
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-2, atol=2e-3)
    with pytest.raises(DigrapError, match="trainer.compile=inductr: choose a torch.compile backend"):
        engine.run(small("trainer.compile=inductr"), tmp_path / "bad")
