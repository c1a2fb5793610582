"""docs/conformance.yaml is what the configs and tests are, and has every value of the recipes."""

import copy

import pytest

from digrap.cli import conformance
from digrap.config.compose import compose

RECIPE = ("trainer.base.name", "trainer.base.lr", "trainer.base.weight_decay", "trainer.base.momentum",
          "trainer.base.nesterov", "trainer.epochs", "trainer.batch_size", "trainer.micro_batch", "optim.mu",
          "optim.lam", "optim.rule", "optim.normalize", "optim.omega", "optim.omega_max")  # fmt: skip
OF_ANSWERS = ("trainer.decoding", "backbone.model", "backbone.dtype", "backbone.prompt", "backbone.train_prompt",
              "dataset.train_share", "dataset.val_share", "dataset.select_by", "peft.r", "peft.alpha", "peft.dropout",
              "peft.targets", "peft.anchor")  # fmt: skip


@pytest.fixture(scope="module")
def plain():
    return conformance.load()


def test_every_row_is_so(plain):
    assert list(conformance.check(plain)) == []


def test_the_page_is_made_of_it(plain):
    assert conformance.PAGE.read_text(encoding="utf-8") == conformance.page(plain)


def test_every_value_of_the_recipes_has_a_row(plain):
    """A value of the card that moves into another key, or a new one, needs a row."""
    stated = {key for _, row in conformance.rows(plain) for key in row.get("values") or {}}
    keys = {*RECIPE, *OF_ANSWERS}
    for recipe in ("t1", "t3"):
        keys |= {f"schedule.{key}" for key in compose(plain["recipes"][recipe]).schedule if key != "_target_"}
    assert not keys - stated


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": {"trainer.base.lr": 0.02}}, "trainer.base.lr is 0.01 and not 0.02"),
        ({"values": {"trainer.no": 1}}, "trainer.no is 'missing' and not 1"),
        ({"test": "tests/config/test_card.py::test_none"}, "there is no test tests/config/test_card.py::test_none"),
        ({"where": "digrap/none.py"}, "digrap/none.py does not exist"),
        ({"state": "done"}, "state=done: one of tested"),
        ({"sate": "set"}, "no such keys: sate"),
    ],
)
def test_what_is_not_so_is_named(plain, change, words):
    changed = copy.deepcopy(plain)
    row = next(row for _, row in conformance.rows(changed) if "trainer.base.lr" in (row.get("values") or {}))
    row.update(change)
    (fault,) = conformance.check(changed)
    assert words in fault
