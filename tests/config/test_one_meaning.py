"""One meaning is one value and one hash, however it was written; what has no meaning is refused."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from digrap.config.choices import choices
from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.config.schema import FLAGS
from digrap.core.errors import DigrapError
from hydra_plugins.digrap_table_sweeper.table_sweeper import TableSweeper, _as_given, _seeds


@pytest.mark.parametrize("same", [
    ("seed=0", "seed=00", "seed='0'", "seed=+0"), ("seed=10", "seed=1_0", "seed=010"),
    ("trainer.epochs=10", "trainer.epochs=010"), ("optim.mu=1", "optim.mu=1.0", "optim.mu=1e0"),
    ("trainer.base.lr=.5", "trainer.base.lr=0.5", "trainer.base.lr='.5'", "trainer.base.lr=5e-1"),
    ("trainer.base.nesterov=true", "trainer.base.nesterov=True", "trainer.base.nesterov=yes",
     "trainer.base.nesterov=on", "trainer.base.nesterov=1"),
    ("trainer.base.betas=[0.9,0.999]", "trainer.base.betas=[.9,'0.999']"),
    ("backbone.pretrained=false", "backbone.pretrained=no", "backbone.pretrained=0", "backbone.pretrained=Off"),
    ("data_root=7", "data_root='7'"),
])  # fmt: skip
def test_one_meaning_is_one_run(same):
    first, *others = [compose([override]) for override in same]
    for other in others:
        assert OmegaConf.to_yaml(other) == OmegaConf.to_yaml(first) or "mu" in same[0]
        assert run_hash(other) == run_hash(first)


@pytest.mark.parametrize("override", ["seed=0.0", "seed=null", "seed=x", "seed=1.5", "trainer.epochs=1e1", "seed="])
def test_what_is_no_whole_number_is_refused(override):
    with pytest.raises(DigrapError, match=override.split("=")[0]):
        compose([override])


@pytest.mark.parametrize("override", ["seed=1.5", "seed=true", "seed=1,2.0", "seed=null"])
def test_seeds_of_a_table_drop_no_part_of_a_number(override):
    with pytest.raises(DigrapError, match="give whole numbers"):
        _seeds(OverridesParser.create().parse_override(override))


def test_seeds_of_a_table():
    assert _seeds(OverridesParser.create().parse_override("seed=00,1,010")) == [0, 1, 10]


@pytest.mark.parametrize(("typed", "shown"), [
    ("lr=1e-3,3e-4", ["lr=1e-3", "lr=3e-4"]), ("smoke=true", ["smoke=true"]), ("a=true, false", ["a=true", "a=false"]),
    ("a=choice(1e-3,2)", ["a=0.001", "a=2"]), ("a=range(1,3)", ["a=1", "a=2"]), ("a=[1,2],[3]", ["a=[1,2]", "a=[3]"]),
    ("root='a,b',c", ["root='a,b'", "root=c"]), ("+x.y=3e-4", ["+x.y=3e-4"]), ("~x.y", ["~x.y"]),
])  # fmt: skip
def test_a_sweep_shows_what_was_typed(typed, shown):
    override = OverridesParser.create().parse_override(typed)
    given = _as_given(override)
    (jobs,) = TableSweeper.split_arguments([override], None)
    assert [given[word] for (word,) in jobs] == shown


def test_every_boolean_of_a_group_without_types_is_known():
    """A new one is a line in FLAGS: else `no` would be a text, and true."""
    found = set()
    for group, kind in (("backbone", "backbones"), ("dataset", "datasets"), ("peft", "peft"), ("logger", "loggers")):
        for choice in choices(kind):
            node = OmegaConf.to_container(compose([f"{group}={choice}"])[group])
            found |= {f"{group}.{key}" for key, value in node.items() if isinstance(value, bool)}
    assert found == set(FLAGS)
