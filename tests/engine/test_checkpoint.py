"""Checkpoints: whole or not there, verified, the one before kept."""

import errno

import pytest
import torch

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.engine import checkpoint

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
