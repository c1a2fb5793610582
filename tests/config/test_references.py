"""References that some keys decide are told from those that stay."""

import pytest
from omegaconf import OmegaConf

from digrap.config.references import resolve_all_but, resolve_at

CONFIG = {
    "a": {"x": 1, "y": "${a.x}", "z": "${a.y}", "both": "${a.x} and ${b.w}"},
    "b": {"w": 2, "all": "${a}", "list": ["${b.w}", 3], "own": "${.w}", "function": "${oc.select:b.w,4}"},
    "c": "${b.list}",
    "d": "${b.w}",
}


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ([], {"b.own", "b.function"}),
        (["a.x"], {"a.y", "a.z", "a.both", "b.all", "b.own", "b.function"}),
        (["a"], {"a.y", "a.z", "a.both", "b.all", "b.own", "b.function"}),
        (["b.w"], {"a.both", "b.list", "b.all", "b.own", "b.function", "c", "d"}),
        (["d"], {"d", "b.own", "b.function"}),
        (["b.list"], {"b.list", "c", "b.own", "b.function"}),
    ],
)
def test_what_keys_decide_is_left(keys, left):
    cfg = OmegaConf.create(CONFIG)
    places = resolve_all_but(cfg, keys)
    assert {".".join(place) for place in places} == left
    for key in keys:
        if not OmegaConf.is_config(OmegaConf.select(cfg, key)):
            OmegaConf.update(cfg, key, 7)
    for place in places:
        resolve_at(cfg, place)
    whole = OmegaConf.create(CONFIG)
    for key in keys:
        if not OmegaConf.is_config(OmegaConf.select(whole, key)):
            OmegaConf.update(whole, key, 7)
    OmegaConf.resolve(whole)
    assert OmegaConf.to_container(cfg) == OmegaConf.to_container(whole)


def test_a_place_that_a_value_has_replaced_is_left_as_it_is():
    cfg = OmegaConf.create({"a": {"b": {"c": "${d}"}}, "d": 1})
    (place,) = resolve_all_but(cfg, ["d"])
    for value in (5, None, {"other": 1}):
        cfg.a.b = value
        resolve_at(cfg, place)
        assert cfg.a.b == value
