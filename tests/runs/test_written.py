"""Names that a run writes, and names of the user's."""

import pytest

from digrap.runs.written import TEMPORARY, is_written


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "metrics.jsonl", ".lock", ".owner.json", ".owner.json.1f.tmp", "train.log",
     ".results.json.a_1x.tmp", "wandb/offline-run-1/files/x", "checkpoints/.step-00000012.old.tmp/state.pt",
     "answers-ok_vqa-0.npz", ".answers-ok_vqa-12.npz.a_1x.tmp",
     "checkpoints/best-epoch-0012.safetensors", "checkpoints/.after-fit.safetensors.a_1x.tmp",
     "checkpoints/step-00000012/state.pt", "checkpoints/.step-00000012.tmp/.manifest.json.q9.tmp"],
)  # fmt: skip
def test_a_runs_own(name):
    assert is_written(name)


@pytest.mark.parametrize(
    "name",
    ["answers.npz", "answers-mine.npz",
     "notes.txt", "config.yaml.bak", ".config.yaml", ".notes.txt.a1.tmp", "wandb", "checkpoints/config.yaml",
     "checkpoints/best-epoch-0012.copy.safetensors", "checkpoints/step-12/state.pt", "checkpoints/step-00000012/notes",
     "checkpoints/step-00000012/deep/state.pt", "mine/results.json", "0123456789.npz"],
)  # fmt: skip
def test_the_users(name):
    assert not is_written(name)


def test_temporary_names_are_those_of_written_files():
    assert TEMPORARY.fullmatch(".step-00000012.tmp") and not TEMPORARY.fullmatch(".mine.tmp")
    assert not TEMPORARY.fullmatch("config.yaml")
