"""A full device ends in one message with the options that need less memory; the run's folder goes on with them."""

import pytest
import torch

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from digrap.engine.out_of_memory import advising, for_answering, for_training, for_weights
from digrap.tasks.classification import Classification
from tests.engine.runs import evaluate, results

TORCHS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is "
    "free. Including non-PyTorch memory, this process has 77.9 GiB memory in use."
)
SAID = "(CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB); "


def full(method, at, monkeypatch):
    """Have the `at`-th call of a method of the task find the device full."""
    plain, calls = getattr(Classification, method), []

    def called(self, *arguments):
        calls.append(method)
        if len(calls) == at:
            raise torch.OutOfMemoryError(TORCHS)
        return plain(self, *arguments)

    monkeypatch.setattr(Classification, method, called)


def test_a_step_names_smaller_micro_batches(small, tmp_path, monkeypatch):
    full("loss", 3, monkeypatch)
    with pytest.raises(DigrapError) as caught:
        engine.run(small("optim=vanilla"), tmp_path)
    text = str(caught.value)
    assert text.startswith(f"the device is out of memory at step 3 {SAID}trainer.micro_batch=16 (now 32)")
    assert (tmp_path / "error.txt").read_text().strip() == text


def test_a_test_names_smaller_batches_with_which_the_run_goes_on(small, tmp_path, monkeypatch):
    full("predict", 2, monkeypatch)  # the first is the validation's
    cfg = small("optim=vanilla", "trainer.max_steps=2", "trainer.eval_batch_size=90")
    with pytest.raises(DigrapError) as caught:
        engine.run(cfg, tmp_path)
    assert str(caught.value).startswith("the device is out of memory in test real_val (CUDA")
    assert str(caught.value).endswith("; trainer.eval_batch_size=45 (now 90) takes fewer at a time")
    engine.run(small("optim=vanilla", "trainer.max_steps=2", "trainer.eval_batch_size=45"), tmp_path)
    assert results(tmp_path)["eval_batch_size"] == 45
    full("predict", 1, monkeypatch)
    with pytest.raises(DigrapError, match="in test real .*; eval_batch_size=22 .now 45. takes fewer"):
        evaluate(f"run={tmp_path}", "split=real", "device=cpu")
    assert evaluate(f"run={tmp_path}", "split=real", "device=cpu", "eval_batch_size=22")["eval_batch_size"] == 22


def test_a_model_that_is_too_large_names_shards():
    vqa = compose(["dataset=vqav2", "optim=digrap"])
    (cut,) = for_weights(vqa)
    assert for_training(vqa, 256, 16) == [
        "trainer.micro_batch=8 (now 16) accumulates the rest of the batch",
        "backbone.gradient_checkpointing=true computes activations twice instead of keeping them",
        cut,
    ]
    assert "trainer.sharding=full" in cut
    assert for_training(vqa, 9, 9)[0].startswith("trainer.micro_batch=3 ")
    whole = compose(["dataset=vqav2", "peft=qlora", "backbone.gradient_checkpointing=true"])
    assert for_weights(whole) == [] == for_training(whole, 256, 1), "4 bits are not cut"
    with pytest.raises(DigrapError, match=r"GiB\); take one with more"), advising("", for_weights(whole)):
        raise torch.OutOfMemoryError(TORCHS)
    assert for_answering(compose(["trainer.eval_batch_size=1"]), "x") == []
