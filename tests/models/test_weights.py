"""Weight files: every key is accounted for, damage is named, and the record tells which file it was."""

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.models.weights import WeightFile, account, hub_revision, random_weights

FIX = "give another file"
NAMES = st.sets(st.sampled_from(["body.a", "body.b", "body.c", "head.a", "head.b"]))
KEYS = st.sets(st.sampled_from([f"{start}{part}.{last}" for start in ("m.", "", "slow.") for part in ("body", "head")
                                for last in "abc"]))  # fmt: skip
SHAPES = st.integers(1, 2)


def tensors(draw, names):
    return {name: torch.zeros(draw(SHAPES)) for name in sorted(names)}


@given(st.data(), NAMES, KEYS, st.sampled_from(["", "m."]), st.booleans(), st.booleans())
def test_every_key_and_every_tensor_is_in_one_place(data, names, keys, prefix, drops, freshens):
    wanted, state = tensors(data.draw, names), tensors(data.draw, keys)
    dropped = {"slow.": "an average", f"{prefix}head.": "the old head"} if drops else {}
    fresh = ("head.",) if freshens else ()
    found = account(state, wanted, prefix, dropped, fresh)
    assert sorted([*found.loaded, *found.dropped, *found.unknown]) == sorted(state)
    filled = {prefix + name for name in wanted if not name.startswith(fresh)}
    assert sorted([*found.loaded, *found.missing]) == sorted(filled)
    assert all(key == prefix + name for key, name in found.loaded.items())
    assert all(key.startswith(tuple(dropped)) and found.dropped[key] in dropped.values() for key in found.dropped)
    assert not any(key in filled or key.startswith(tuple(dropped)) for key in found.unknown)
    other = [key for key, name in found.loaded.items() if state[key].shape != wanted[name].shape]
    assert [text.split(" ")[0] for text in found.misshaped] == other
    assert bool(found.problems()) == bool(found.unknown or found.missing or other)


def module_of(**shapes):
    module = nn.Module()
    for name, shape in shapes.items():
        module.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    return module


@pytest.fixture(params=["w.safetensors", "w.pt", "nested.pth.tar"])
def file(request, tmp_path):
    """A function: a state dict → the WeightFile that holds it, in each of the formats."""

    def save(state):
        path = tmp_path / request.param
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(state, path)
        else:
            torch.save({"epoch": 1, "state_dict": state} if "nested" in path.name else state, path)
        return WeightFile.find(path, FIX)

    return save


def test_what_is_read_is_what_was_saved(file):
    state = {"a": torch.randn(2, 3), "b": torch.arange(3), "c": torch.randn(2).bfloat16()}
    found = file(state).read()
    assert found.keys() == state.keys() and all(torch.equal(found[key], value) for key, value in state.items())
    assert all(found[key].dtype == value.dtype for key, value in state.items())


def test_loading_fills_the_module_and_keeps_what_is_fresh(file):
    module = module_of(a=(2, 3), head=(2,))
    state = {"m.a": torch.randn(2, 3), "m.head": torch.ones(5), "slow.a": torch.ones(1)}
    found = file(state).load_into(module, "m.", {"slow.": "an average", "m.head": "the old head"}, fresh=("head",))
    assert torch.equal(module.a, state["m.a"]) and not module.head.any()
    assert found.loaded == {"m.a": "a"} and set(found.dropped) == {"m.head", "slow.a"}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": (2, 3), "b": (1,), "c": (1,)}, r"unknown keys: b, c\)"),
        ({"a": (3, 2)}, r"other shapes: a \(3, 2\) for \(2, 3\)\)"),
        ({}, r"missing keys: a\)"),
        ({"x.a": (2, 3)}, r"unknown keys: x.a; missing keys: a\)"),
        ({"a": (2, 3)} | {f"b{n}": (1,) for n in range(7)}, r"unknown keys: b0, b1, b2, … \(7 in all\)\)"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(file, state, words):
    module = module_of(a=(2, 3))
    given_file = file({key: torch.ones(shape) for key, shape in state.items()})
    with pytest.raises(DigrapError, match=rf"^backbone.weights={given_file.path}: .*{words}; {FIX}$"):
        given_file.load_into(module)
    assert not module.a.any()


@pytest.mark.parametrize("left", [0, 7, 8, 60, -1])
def test_a_truncated_file_is_named(file, left):
    whole = file({"a": torch.randn(40)})
    whole.path.write_bytes(whole.path.read_bytes()[:left])
    with pytest.raises(DigrapError, match=rf"{whole.path}: not a readable (safetensors|torch) file \(.*; {FIX}$"):
        whole.read()


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": [1]}, {"a": torch.ones(1), "epoch": 3}])
def test_a_file_without_state_dict_is_named(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DigrapError, match="w.pt: it has no state_dict"):
        WeightFile.find(tmp_path / "w.pt", FIX).read()


def test_pickled_code_is_refused(tmp_path):
    torch.save({"state_dict": nn.Linear(1, 1)}, tmp_path / "w.pt")
    with pytest.raises(DigrapError, match="w.pt: not a readable torch file"):
        WeightFile.find(tmp_path / "w.pt", FIX).read()


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    with pytest.raises(DigrapError, match=f"^clip_weights={tmp_path}/w.pt: there is no such file; {FIX}$"):
        WeightFile.find(tmp_path / "w.pt", FIX, "clip_weights")
    with pytest.raises(DigrapError, match="no such file"):
        WeightFile.find(tmp_path, FIX)  # a folder
    with pytest.raises(DigrapError, match="^backbone.weights=null: a file of weights is needed"):
        WeightFile.find(None, FIX)
    (tmp_path / "w.pt").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert WeightFile.find("~/w.pt", FIX).path == tmp_path / "w.pt"


def test_the_provenance_is_of_the_file(file, tmp_path):
    found = file({"a": torch.ones(1)})
    plain = {"source": "file", "weights": found.path.name, "sha256": sha256(found.path)}
    assert found.provenance("file") == plain
    commit = tmp_path / "models--x--y" / "snapshots" / "0123abc"
    (commit / "sub").mkdir(parents=True)
    for place in (commit / found.path.name, commit / "sub" / found.path.name):
        place.write_bytes(found.path.read_bytes())
        known = WeightFile(place, FIX).provenance("timm", model="m")
        assert known == plain | {"source": "timm", "model": "m", "revision": "0123abc"}
    assert hub_revision(tmp_path / "snapshots") is None and hub_revision(tmp_path / "snapshots" / "w.pt") is None
    assert random_weights() == {"source": "random weights"}
