"""Uploads of what Weights & Biases has on disk: found, and refused in one line without network or login."""

import subprocess

import pytest
import wandb

from digrap.cli import sync
from digrap.core.errors import DigrapError
from tests.doors import call
from tests.engine.servers import silent


@pytest.fixture
def kept(tmp_path):
    """Three starts, the newest of which was uploaded; a finished run without Weights & Biases."""
    names = ("offline-run-20260102_000000-b", "run-20260101_000000-a", "offline-run-20260103_000000-b")
    folders = [tmp_path / "set of" / "hash" / "wandb" / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "run-x.wandb").touch()
    (folders[2] / "run-x.wandb.synced").touch()
    (tmp_path / "set of" / "other").mkdir()
    return tmp_path, folders


def test_what_is_uploaded_and_in_which_order(kept, monkeypatch):
    outputs, folders = kept
    listed = call("scripts/sync.py", f"outputs={outputs}", "dry_run=true")
    assert listed.stdout.splitlines()[:2] == [str(folders[1]), str(folders[0])]
    calls = []
    monkeypatch.setattr(subprocess, "run", lambda command: calls.append(command) or subprocess.CompletedProcess((), 1))
    with pytest.raises(DigrapError, match=r"2 of 2 were not uploaded \(first: .*run-20260101_000000-a\); the same"):
        sync.upload(sync.waiting(outputs))
    assert calls[0][1:5] == ["-m", "wandb", "sync", "--yes"] and calls[0][-2:] == [str(folders[1]), str(folders[0])]


def test_without_network_or_login(kept, monkeypatch, tmp_path):
    """Both are said before anything waits for a server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for greets, message in ((False, "does not answer: connect this machine"), (True, "not logged in .*`wandb login`")):
        wandb.teardown()
        with silent(greets) as server:
            monkeypatch.setenv("WANDB_BASE_URL", server)
            with pytest.raises(DigrapError, match=message):
                sync.check_server()
    wandb.teardown()


def test_a_folder_that_is_not_there(tmp_path):
    run = call("scripts/sync.py", f"outputs={tmp_path / 'no'}")
    assert run.returncode == 2 and run.stderr == (
        f"error: outputs={tmp_path / 'no'}: there is no such folder; give a run's folder, or one with runs\n"
    )
