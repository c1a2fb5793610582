"""Configs composed from groups that were composed before equal Hydra's own, and are refused as Hydra's are."""

import gc
import pickle
import shutil

import pytest
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config import compose as composing
from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.config.schema import typed
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS
from digrap.tables.spec import load_table


def by_hydra(overrides: list[str]) -> DictConfig:
    return typed(composing.compose_untyped(overrides, "train"))


def structs(node, at=""):
    """Every mapping of a config with whether it is closed to new keys."""
    if OmegaConf.is_dict(node):
        yield at, OmegaConf.is_struct(node), OmegaConf.get_type(node)
        for key in node:
            yield from structs(node._get_node(key), f"{at}.{key}")


def assert_same(overrides: list[str]) -> None:
    quick, slow = composing._from_same_groups(overrides), by_hydra(overrides)
    assert quick is not None
    assert OmegaConf.to_yaml(quick) == OmegaConf.to_yaml(slow)
    assert list(structs(quick)) == list(structs(slow))
    assert run_hash(quick) == run_hash(slow) == run_hash(pickle.loads(pickle.dumps(slow)))
    again = composing._from_same_groups(overrides)  # nothing has changed what the next ones are made from
    assert OmegaConf.to_yaml(again) == OmegaConf.to_yaml(slow)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("table", ["8", "1", "3", "mini_3"])
def test_every_row_of_a_table(table):
    spec = load_table(table)
    rows = list(spec.rows.values())
    for row in rows if table == "mini_3" else rows[:: len(rows) // 3]:
        assert_same(list(spec.cell(row.label, 7, row.choices()[-1]).overrides))


VALUES = {
    "optim.mu": st.floats(0, 10),
    "trainer.base.lr": st.sampled_from(["1e-3", "1", "0", "0.5", "${seed}"]),
    "trainer.epochs": st.integers(1, 9),
    "trainer.base.betas": st.sampled_from(["[0.8,0.9]", "[0,1]"]),
    "seed": st.integers(0, 10**6),
    "trainer.profile": st.sampled_from(["true", "false", "yes", "0"]),
    "data_root": st.sampled_from(["/a/b", "'a b'", "data"]),
    "dataset.splits.sketch": st.sampled_from(["{size: 3}"]),
    "+dataset.note": st.sampled_from(["1", "a"]),
    "++optim.mu": st.floats(0, 1),
    "optim.optimizer": st.sampled_from(["{mu: 3}", "{rule: '${optim.rule}'}"]),
    "++optim.optimizer.mu": st.floats(0, 1),
    "dataset.seed": st.integers(0, 9),
    "optim.start": st.sampled_from(["null", "vanilla", "{optim: lp, trainer: {epochs: 2}}"]),
}


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5), st.data())
def test_values_of_every_kind_in_any_order(keys, data):
    assert_same([f"{key}={data.draw(VALUES[key])}" for key in keys])


@pytest.mark.parametrize(
    "wrong",
    [
        "optim.no_such=1",
        "no_such=1",
        "trainer.epochs=many",
        "trainer.epochs=0",
        "optim=no_such",
        "+seed=1",
        "seed=",
        "a",
    ],
)
def test_wrong_overrides_are_left_to_hydra(wrong):
    def error(call) -> str:
        with pytest.raises((HydraException, OmegaConfBaseException, DigrapError)) as raised:
            call([wrong])
        return f"{type(raised.value)} {raised.value}"

    assert error(compose) == error(by_hydra)


@pytest.mark.parametrize(
    "other", ["~optim.mu", "seed=1,2", "table=mini", "hydra.job.chdir=true", "hydra/launcher=joblib"]
)
def test_what_is_no_plain_value_is_left_to_hydra(other):
    assert composing._from_same_groups([other]) is None


def test_a_file_of_configs_that_changes_is_read_again(tmp_path, monkeypatch):
    configs = tmp_path / "configs"
    shutil.copytree(CONFIGS, configs)
    monkeypatch.setattr(composing, "CONFIGS", configs)
    before = compose(["optim=digrap"]).optim.mu
    file = configs / "optim" / "digrap.yaml"
    file.write_text(file.read_text().replace("mu:", "mu: 7.25 #", 1))
    assert before != compose(["optim=digrap"]).optim.mu == 7.25


def test_many_configs_are_composed_with_one_look_at_the_files(monkeypatch):
    looks, look = [], composing._changes
    monkeypatch.setattr(composing, "_changes", lambda folder: looks.append(folder) or look(folder))
    with composing.many_configs(), composing.many_configs():
        compose(["optim=digrap"])
        first = len(looks)
        compose(["optim=digrap", "seed=3"])
        assert len(looks) == first and not gc.isenabled()
    compose(["optim=digrap"])
    assert len(looks) == 2 * first and gc.isenabled()
