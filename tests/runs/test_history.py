"""Statistics of layers over training: from metrics.jsonl and back from a small file."""

import json

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.runs.folder import RunFolder
from digrap.runs.history import history_bytes, history_of, read_history


@pytest.fixture
def folder(tmp_path):
    records = [
        {"event": "train", "step": 1},
        {"event": "layers", "epoch": 1, "step": 6, "tensors": {"a": {"norm": 0.5, "relative": 0.1}}},
        {"event": "layers", "epoch": 2, "step": 12, "tensors": {
            "a": {"norm": 1.5, "relative": 0.3, "omega": 0.25}, "b": {"norm": 2.0, "relative": None}}},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return RunFolder(tmp_path)


def test_from_the_log_to_a_file_and_back(folder, tmp_path):
    history = history_of(folder)
    assert history.tensors == ("a", "b") and history.steps.tolist() == [6, 12] and history.epochs.tolist() == [1, 2]
    assert set(history.values) == {"norm", "relative", "omega"}
    assert np.array_equal(history.values["norm"], np.float32([[0.5, np.nan], [1.5, 2.0]]), equal_nan=True)
    assert np.array_equal(history.values["omega"], np.float32([[np.nan] * 2, [0.25, np.nan]]), equal_nan=True)
    (tmp_path / "h.npz").write_bytes(history_bytes(history))
    back = read_history(tmp_path / "h.npz")
    assert (tmp_path / "h.npz").read_bytes() == history_bytes(back) == history_bytes(history)
    assert back.tensors == history.tensors and np.array_equal(back.steps, history.steps)
    for key, values in history.values.items():
        assert back.values[key].dtype == np.float32 and np.array_equal(back.values[key], values, equal_nan=True)


def test_a_run_without_any(folder, tmp_path):
    assert history_of(RunFolder(tmp_path / "none")) is None
    folder.metrics_file.write_text('{"event": "train", "step": 1}\n')
    assert history_of(folder) is None


@pytest.mark.parametrize(
    "record", [{}, {"step": 1, "epoch": 1, "tensors": 3}, {"step": "x", "epoch": 1, "tensors": {}}]
)
def test_a_damaged_record_is_named(folder, record):
    folder.metrics_file.write_text(json.dumps({"event": "layers", **record}) + "\n")
    with pytest.raises(DigrapError, match="metrics.jsonl has a damaged 'layers' record"):
        history_of(folder)


def test_a_damaged_file_is_named(folder, tmp_path):
    path = tmp_path / "h.npz"
    with pytest.raises(DigrapError, match="h.npz: the history cannot be read"):
        read_history(path)
    np.savez(path, steps=np.arange(2))
    with pytest.raises(DigrapError, match="h.npz: the history cannot be read"):
        read_history(path)
