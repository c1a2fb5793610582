"""A refused command leaves nothing; what is worth keeping stays."""

import json
import re

import pytest

from digrap.runs.folder import RunFolder
from digrap.runs.lock import hold
from digrap.runs.refused import remove_refused
from tests.doors import call


def begun(folder, **files):
    """A run folder as a start leaves it that came no further than its config."""
    folder.mkdir(parents=True)
    for name, text in {"train.log": "", "config.yaml": "seed: 0", "run.json": "{}", **files}.items():
        (folder / name).write_text(text)
    return folder


def test_a_start_that_came_no_further_is_removed_with_an_empty_folder_above(tmp_path):
    folder, other = begun(tmp_path / "mini" / "0123456789"), begun(tmp_path / "mini" / "1123456789")
    assert remove_refused(folder, failed_too=False) and not folder.exists() and other.exists()
    assert remove_refused(other, failed_too=False) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "mine"),
        ("run.json", json.dumps({"total_steps": 5})),
        ("results.json", "{}"),
        ("variants.json", "{}"),
        ("answers-test-0.npz", ""),
        ("metrics.jsonl", '{"event": "train", "step": 1, "epoch": 0.1}\n'),
    ],
)
def test_what_is_worth_keeping_stays(tmp_path, name, text):
    folder = begun(tmp_path / "run", **{name: text})
    assert not remove_refused(folder, failed_too=True) and (folder / name).read_text() == text


def test_a_failed_run_that_status_shows_stays_where_it_is_asked_to(tmp_path):
    folder = begun(tmp_path / "run", **{"error.txt": "why"})
    assert not remove_refused(folder, failed_too=False) and remove_refused(folder, failed_too=True)


def test_another_process_keeps_its_folder(tmp_path):
    folder = begun(tmp_path / "run")
    with hold(RunFolder(folder)):
        assert not remove_refused(folder, failed_too=True)
    assert (folder / "config.yaml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.mu=-1"], "optim=digrap: Invalid mu"),  # refused before the run has its folder's lock
        (["+backbone.size=3"], "backbone.size: backbone=mini_resnet has no such option"),  # after that
        (["+schedule.warmup=3"], "schedule.warmup: .*cosine has no such option; valid: min_lr"),
        (["dataset=domainnet", "optim=wise_ft"], "no images under"),  # in the run that it is initialised from
        (["dry_run=true"], "needs a table"),
        (["optim=digrap", "-m", "optim.mu=-1,-2"], "2 of 2 runs failed"),
    ],
    ids=["method", "backbone", "schedule", "start", "table", "sweep"],
)
def test_a_refused_command_leaves_no_folder(small_arguments, tmp_path, words, message):
    if "dataset=domainnet" in words:
        small_arguments = [f"data_root={tmp_path / 'none'}"]
    done = call("train.py", *words, *small_arguments, f"outputs={tmp_path / 'outputs'}")
    assert done.returncode == 2, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name != "outputs"]
