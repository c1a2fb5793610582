"""Unknown keys and choices are refused with the nearest ones, however they were written."""

import pytest

from digrap.config.compose import compose
from digrap.config.known_keys import check_known_keys, nearest_key
from digrap.core.errors import DigrapError
from tests.doors import call


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("+trainer.epoc=3", "trainer.epoc: there is no such option; nearest: epochs"),
        ("+trainer.base.lrr=3", "trainer.base.lrr: there is no such option; nearest: lr"),
        ("+sead=3", "sead: there is no such option; nearest: seed"),
    ],
)
def test_an_added_key_of_the_schema(added, message):
    with pytest.raises(DigrapError, match=message):
        compose([added])


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("+optim.muu=1", "optim.muu: optim=digrap has no such option; nearest: mu"),
        ("+peft.rang=1", "peft.rang: peft=none has no such option; nearest: anchor|peft.rang: .*valid: name, anchor"),
        ("+logger.mood=online", "logger.mood: logger=none has no such option; valid: name"),
    ],
)
def test_an_added_key_that_nothing_would_read(added, message):
    with pytest.raises(DigrapError, match=message):
        check_known_keys(compose([added]))


def test_what_is_there_is_known():
    for optim in ("digrap", "wise_ft", "lp_ft", "tpgm"):
        check_known_keys(compose([f"optim={optim}", "peft=lora", "logger=wandb", "+optim.optimizer.more=1"]))


KEYS = ["seed", "trainer", "trainer.epochs", "trainer.base", "trainer.base.lr", "optim", "optim.mu", "dataset.splits"]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("trainer.epoch", "nearest: trainer.epochs"),
        ("trainer.quite_other", "valid: trainer.epochs, trainer.base"),
        ("sed", "nearest: seed"),
        ("epochs.training", "`python train.py --cfg job` lists them all"),
        ("splits", "nearest: dataset.splits"),
        ("lr", "nearest: trainer.base.lr"),
        ("trainer.lr", "nearest: trainer.base.lr"),
        ("optim.epochs", "nearest: trainer.epochs"),
        ("dataset.split", "nearest: dataset.splits"),
    ],
)
def test_the_nearest_key(key, found):
    assert nearest_key(key, KEYS) == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.py", "trainer.epoch=3"], "trainer.epoch: there is no such option; nearest: trainer.epochs\n"),
        (["evaluate.py", "splits=real"], "splits: there is no such option; nearest: dataset.splits, split\n"),
        (["evaluate.py", "seed=0,1"], "Ambiguous value for argument 'seed=0,1': evaluate.py takes one value\n"),
        (["evaluate.py", "device=cpu", "split=real,skech"], "split=skech: there is no such split; nearest: sketch\n"),
        (
            ["evaluate.py", "device=cpu", "backbone.weights=/none"],
            "backbone.weights=/none: there is no such file; give a file of such a model's weights, or leave "
            "backbone.weights out for the shipped ones, of 45 classes\n",
        ),
    ],
)
def test_hints_of_the_doors(words, message):
    done = call(*words)
    assert done.returncode == 2 and done.stderr.endswith(f"error: {message}"), done.stderr
