"""`clean` deletes only what a run wrote: by content, whatever a folder is called."""

import os
import time

import numpy as np
import pytest

from digrap.core.files import write_json, write_text
from digrap.engine.run import run
from digrap.runs.predictions import write_bundle
from digrap.tables import clean
from tests.tables.test_clean import LOST, listed, make

USERS = [
    "notes.txt", "README.md", "model.safetensors", "classes.json", "checkpoints/notes.txt", ".notes",
    "checkpoints/mine.safetensors", "checkpoints/step-00000001/notes.md", "figures/a.png", "config.yaml.orig",
    "checkpoints/best-epoch-0001.safetensors.bak", "predictions.npz~",
]  # fmt: skip
RUNS = [
    ".lock", ".owner.json", "error.txt", "data.json", "variants.json", "metrics.jsonl", "train.log", ".run.json.x1.tmp",
    "checkpoints/after-fit.safetensors", "checkpoints/best-epoch-0012.safetensors",
    "checkpoints/.best-epoch-0012.safetensors.ab_c1.tmp", "checkpoints/step-00000012/state.pt",
    "checkpoints/.step-00000013.tmp/.state.pt.k_3.tmp", "checkpoints/step-00000012/manifest.json",
    "wandb/offline-run-1/run.wandb",
]  # fmt: skip


@pytest.mark.parametrize("name", USERS)
def test_a_folder_with_a_file_of_the_users_stays_and_says_which(tmp_path, name):
    folder = make(tmp_path / "a" / LOST)
    write_text(folder / name, "mine")
    (item,) = listed(tmp_path).values()
    assert item.kept == f"it holds {name}, which no run writes"
    assert clean.delete([item]) == ([], [item]) and (folder / name).read_text() == "mine"
    assert (folder / "results.json").exists()


def test_several_are_counted_and_a_link_is_the_users(tmp_path):
    folder = make(tmp_path / "a" / LOST)
    (folder / "predictions.npz").symlink_to(tmp_path / "elsewhere")
    write_text(folder / "z.txt", "")
    (item,) = listed(tmp_path).values()
    assert item.kept == "it holds predictions.npz and 1 more, which no run writes"


@pytest.mark.parametrize("name", RUNS)
def test_what_runs_write_goes(tmp_path, name):
    folder = make(tmp_path / "a" / LOST)
    write_text(folder / name, "")
    os.utime(folder / name, (time.time() - 3600,) * 2)
    (item,) = listed(tmp_path).values()
    assert not item.kept
    assert clean.delete([item]) == ([item], []) and not folder.exists()


def test_an_export_with_a_name_of_ten_digits_stays(tmp_path):
    export = make(tmp_path / "exports" / "2025010203")
    for name in ("model.safetensors", "classes.json", "README.md"):
        write_text(export / name, "")
    (item,) = listed(tmp_path).values()
    assert item.kept == "it holds README.md and 2 more, which no run writes"
    assert not clean.delete([item])[0] and len(list(export.iterdir())) == 6


def test_real_runs_hold_nothing_foreign(small, tmp_path):
    """A file that the engine begins to write has to be named here too."""
    run(small("optim=lp_ft", "trainer.epochs=1"), tmp_path / "0000000001")
    run(small("optim=wise_ft", "trainer.epochs=1", "optim.curve=[]"), tmp_path / "0000000002")
    folders = [path for path in tmp_path.iterdir() if path.name != "labels"]
    assert len(folders) == 4 and {folder.name: clean.foreign(folder) for folder in folders} == {
        folder.name: [] for folder in folders
    }


def test_notes_that_come_after_the_list_are_seen_and_labels_stay(tmp_path):
    folder = make(tmp_path / "a" / LOST, [1, 1])
    found = listed(tmp_path)
    assert len(found) == 2
    write_text(folder / "notes.txt", "mine")
    deleted, kept = clean.delete(reversed(found.values()))
    assert not deleted and len(kept) == 2 and len(list((tmp_path / "a" / "labels").iterdir())) == 1


def test_a_file_that_only_is_named_like_labels_stays(tmp_path):
    make(tmp_path / "a" / "1111111111", [1, 1])
    mine = tmp_path / "a" / "labels" / "0123456789.npz"
    np.savez(mine, a=np.array([1]))
    (tmp_path / "a" / "labels" / "9876543210.npz").write_text("notes")
    write_bundle(tmp_path / "a" / "x" / "y.npz", {}, {"real": {"label": np.array([2, 2])}})
    write_json(tmp_path / "a" / "x" / "mine.json", {})
    deleted, _ = clean.delete(listed(tmp_path).values())
    assert len(deleted) == 3 and mine.exists() and mine.with_name("9876543210.npz").exists()
