"""Checkpoints: whole or not there, verified, the one before kept."""

import ast
import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.paths import REPO
from digrap.engine import checkpoint
from digrap.engine import run as engine
from tests.engine.runs import load_checkpoint, weights

BASE = {"source": "a file", "weights": "w.safetensors", "sha256": "0123456789abcdef"}


def state(value):
    return {"weights": torch.full((100,), float(value)), "position": {"step": value}}


def test_round_trip_keeps_the_newest_two(tmp_path):
    assert checkpoint.load(tmp_path, BASE) is None
    for step in (1, 2, 10):
        checkpoint.save(tmp_path, step, state(step), base=BASE, best_epoch=step)
    assert [folder.name for folder in checkpoint.folders(tmp_path)] == ["step-00000002", "step-00000010"]
    assert checkpoint.load(tmp_path, BASE)["position"] == {"step": 10}
    assert checkpoint.manifest(checkpoint.folders(tmp_path)[-1])["best_epoch"] == 10


@pytest.mark.parametrize("damage", ["cut", "flip", "manifest", "gone"])
def test_damage_is_named_and_nothing_older_is_taken_silently(tmp_path, damage):
    older, newest = (checkpoint.save(tmp_path, step, state(step), base=BASE) for step in (1, 2))
    file = newest / "state.pt"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "flip":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "manifest":
        (newest / "manifest.json").write_text("{")
    else:
        file.unlink()
    with pytest.raises(DigrapError) as caught:
        checkpoint.load(tmp_path, BASE)
    assert f"{newest} is damaged" in str(caught.value) and str(older) in str(caught.value)


@pytest.mark.parametrize("plain", [[], {"base": "x"}, {"weights": "x"}, {"weights": [1]}, {"best_epoch": "x"}])
def test_a_manifest_of_another_shape_is_named(tmp_path, plain):
    newest = checkpoint.save(tmp_path, 1, state(1), base=BASE)
    whole = checkpoint.manifest(newest)
    write_json(newest / "manifest.json", whole | plain if plain else plain)
    with pytest.raises(DigrapError, match="step-00000001 is damaged .manifest.json"):
        checkpoint.load(tmp_path, BASE)


def test_full_disk_leaves_the_previous_checkpoint_whole(tmp_path, monkeypatch):
    good = checkpoint.save(tmp_path, 1, state(1), base=BASE)

    def full(value, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DigrapError, match="No space left") as caught:
        checkpoint.save(tmp_path, 2, state(2), base=BASE)
    monkeypatch.undo()
    assert str(good) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert checkpoint.load(tmp_path, BASE)["position"] == {"step": 1}


def test_a_folder_left_by_a_kill_is_no_checkpoint(tmp_path):
    checkpoint.save(tmp_path, 1, state(1), base=BASE)
    (tmp_path / ".step-00000002.tmp").mkdir()
    (tmp_path / ".step-00000002.tmp" / "state.pt").write_bytes(b"half")
    assert checkpoint.load(tmp_path, BASE)["position"] == {"step": 1}
    checkpoint.save(tmp_path, 2, state(2), base=BASE)
    assert checkpoint.load(tmp_path, BASE)["position"] == {"step": 2}


def test_other_pretrained_weights_are_refused(tmp_path):
    """A checkpoint holds only what trains: on other frozen weights it would be another model."""
    folder = checkpoint.save(tmp_path, 1, state(1), base=BASE)
    other = {"source": "a file", "weights": "v.safetensors", "sha256": "fedcba9876543210"}
    with pytest.raises(DigrapError) as caught:
        checkpoint.load(tmp_path, other)
    for word in (str(folder), "w.safetensors", "0123456789ab", "v.safetensors", "fedcba987654"):
        assert word in str(caught.value)


def test_a_checkpoint_of_the_first_format_is_refused_by_name(tmp_path):
    folder = checkpoint.save(tmp_path, 1, state(1), base=BASE)
    manifest = checkpoint.manifest(folder)
    del manifest["format"], manifest["base"]
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(DigrapError, match=rf"{folder} has format 1, this version reads 3: delete {tmp_path.parent}"):
        checkpoint.load(tmp_path, BASE)


# A checkpoint as this release writes it, after four steps of DiGraP on the head of the miniature. A later release reads
# it, or refuses its format by name.
KEPT = Path(__file__).parent / "checkpoint_format_3"
OPTIONS = ("optim=digrap", "optim.trains=head", "trainer.epochs=1")


def test_a_checkpoint_of_format_3_is_resumed(small, tmp_path, caplog):
    shutil.copytree(KEPT, tmp_path / "old" / "checkpoints")
    with caplog.at_level("INFO"):
        engine.run(small(*OPTIONS), tmp_path / "old")
    assert "resumed at step 4 of epoch 1" in caplog.text
    engine.run(small(*OPTIONS), tmp_path / "new")
    old, new = weights(tmp_path / "old"), weights(tmp_path / "new")
    assert old.keys() == new.keys()
    for name in new:  # made on another machine: not the last bits
        torch.testing.assert_close(old[name], new[name], rtol=1e-3, atol=1e-5)


def test_it_is_complete():
    """Everything that the next step depends on: the optimizer with ω, its moments and anchors, the learning rate, the
    random states, the place in the epoch, the best so far."""
    state = load_checkpoint(KEPT)
    assert set(state) == {"module", "optimizer", "scheduler", "after_step", "scaler", "rng", "position", "losses",
                          "metrics_size"}  # fmt: skip
    assert {"step_in_epoch": 4, "epoch": 0, "step": 4, "best_epoch": None}.items() <= state["position"].items()
    of_a_param = state["optimizer"]["state"][0]
    assert {"anchor", "omega", "exp_avg", "exp_avg_sq", "omega_exp_avg", "omega_exp_avg_sq"} <= set(of_a_param)
    assert state["scheduler"]["last_epoch"] == 4 and state["rng"][0]["cpu"].dtype == torch.uint8


def test_a_later_format_is_refused_by_name(small, tmp_path):
    shutil.copytree(KEPT, tmp_path / "checkpoints")
    file = tmp_path / "checkpoints" / "step-00000004" / "manifest.json"
    write_json(file, checkpoint.manifest(file.parent) | {"format": 4})
    with pytest.raises(DigrapError, match=rf"{file.parent} has format 4, this version reads 3: delete {tmp_path} "):
        engine.run(small(*OPTIONS), tmp_path)


def test_nothing_is_unpickled():
    """torch.load runs what a file says, unless it is told to read weights only."""
    calls = []
    for file in [path for room in ("digrap", "tools", "scripts") for path in (REPO / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "timm.models.load_state_dict"):
                calls.append({word.arg: ast.unparse(word.value) for word in node.keywords}["weights_only"])
            if isinstance(node, ast.Call) and "pickle.load" in ast.unparse(node.func):
                own = file.parent == REPO / "digrap/config" or file == REPO / "digrap/engine/launch.py"
                assert own and ast.unparse(node.func) == "pickle.loads", file  # what the same process has pickled
            assert not isinstance(node, ast.keyword) or node.arg != "allow_pickle" or not node.value.value, file
    assert len(calls) >= 4 and set(calls) == {"True"}


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    folder = checkpoint.save(tmp_path / "checkpoints", 1, {"module": Harm()}, base=BASE)
    with pytest.raises(DigrapError, match=f"{folder} is damaged"):
        checkpoint.load(tmp_path / "checkpoints", BASE)
    assert not (tmp_path / "harm").exists()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the open files are read there")
def test_folders_are_flushed_after_their_files(tmp_path, monkeypatch):
    """What is renamed is on disk before, and its new name after: a power cut leaves the old or the new."""
    seen, rename, replace = [], Path.rename, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    monkeypatch.setattr(os, "replace", lambda a, b: (replace(a, b), seen.append("→")))
    monkeypatch.setattr(Path, "rename", lambda a, b: (rename(a, b), seen.append("→")))
    final = checkpoint.save(tmp_path, 1, state(1), base=BASE)
    writing = str(tmp_path / ".step-00000001.tmp")
    kinds = [("file" if "/." in path.removeprefix(writing) else path) for path in seen]
    assert kinds == ["file", "→", writing, "file", "→", writing, "→", str(tmp_path)] and final.is_dir()


def test_a_checkpoint_of_the_same_step_takes_the_place_of_the_first(tmp_path):
    for value in (1, 2):
        checkpoint.save(tmp_path, 7, state(value), base=BASE)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007"]
    assert checkpoint.load(tmp_path, BASE)["position"] == {"step": 2}


def test_one_that_cannot_be_put_there_leaves_the_first(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 7, state(1), base=BASE)
    rename = Path.rename

    def refuse(self, target):
        if self.name == ".step-00000007.tmp":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DigrapError, match="Input/output error"):
        checkpoint.save(tmp_path, 7, state(2), base=BASE)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007"]
    assert checkpoint.load(tmp_path, BASE)["position"] == {"step": 1}
