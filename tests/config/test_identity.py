"""The hash of a run: the keys that enter it, and that hashes of earlier versions stay valid."""

import json
from pathlib import Path

import pytest

from digrap.config.compose import compose
from digrap.config.identity import run_hash

KNOWN = json.loads(Path(__file__).with_name("known_hashes.json").read_text(encoding="utf-8"))


def hash_of(*overrides):
    return run_hash(compose(list(overrides)))


@pytest.mark.parametrize(
    ("overrides", "expected"), KNOWN, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_hashes_of_the_first_release_stay_valid(overrides, expected):
    """Runs and published tables are found by their hashes: new or renamed options must not change them."""
    assert hash_of(*overrides) == expected


def test_equal_values_have_one_hash():
    assert hash_of("optim.mu=1") == hash_of("optim.mu=1.0")
    assert hash_of("trainer.base.lr=1e-3") == hash_of()


@pytest.mark.parametrize("place", ["data_root=/tmp/elsewhere", "device=cpu", "logger=wandb", "trainer.workers=3"])
def test_where_a_run_is_made_is_no_part_of_the_hash(place):
    assert hash_of(place) == hash_of()


@pytest.mark.parametrize("check", ["dataset.strict=true", "dataset.check_pictures=false"])
def test_checks_are_no_part_of_the_hash(check):
    assert hash_of("dataset=vqav2", check) == hash_of("dataset=vqav2")


def test_the_score_that_selects_the_checkpoint_is_part_of_the_hash():
    assert hash_of("dataset=vqav2", "dataset.select_by=official2017") != hash_of("dataset=vqav2")


@pytest.mark.parametrize("what", ["seed=1", "optim.mu=0.2", "optim=vanilla", "trainer.threads=2", "trainer.epochs=2"])
def test_what_changes_bits_changes_the_hash(what):
    assert hash_of(what) != hash_of()


def test_one_zero_shot_run_serves_every_recipe():
    assert hash_of("optim=zero_shot", "trainer.base.lr=1") == hash_of("optim=zero_shot")
    assert hash_of("optim=zero_shot", "seed=1") != hash_of("optim=zero_shot")


def test_decoding_is_part_of_the_hash_where_answers_are_searched_for():
    for options in (["dataset=minivqa"], ["dataset=minivqa", "optim=zero_shot"]):
        assert hash_of(*options) == hash_of(*options, "trainer.decoding=greedy")
        assert len({hash_of(*options, f"trainer.decoding={name}") for name in ("card", "authors", "greedy")}) == 3
    assert hash_of("trainer.decoding=card") == hash_of()  # a classifier decodes nothing


def test_later_options_at_their_defaults_do_not_change_hashes():
    assert hash_of("trainer.channels_last=false") == hash_of() != hash_of("trainer.channels_last=true")
    assert hash_of("trainer.compile=inductor") != hash_of()
