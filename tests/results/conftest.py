"""A synthetic outputs tree with known numbers."""

import json

import pytest

from digrap.files import write_json
from digrap.results.spec import load_table

SPLITS = ("real", "clipart", "sketch", "painting", "infograph", "quickdraw")
# row → ID accuracy by seed; OOD split k (1 to 5) has that less 10 k.
ACCURACY = {
    "zero-shot": [70.0, 71.0, 72.0],
    "vanilla, lr 1e-3": [80.0, 82.0, 84.0],
    "vanilla, lr 3e-4": [78.0, 79.0],
    "DiGraP": [81.0, 82.0, 83.0],
}


def result(accuracy, seed, **changes):
    """A results.json."""
    scores = {
        name: {"kind": "near_ood" if k else "id_test", "n": 100, "accuracy": accuracy - 10 * k}
        for k, name in enumerate(SPLITS)
    }
    versions = {"torch": "2.15.0", "timm": "1.0.31"}
    made = {"commit": "0123456789abcdef", "dirty": False, "device": "cpu", "versions": versions}
    return {"schema": 1, "metric": "accuracy", "seed": seed, "scores": scores, **made, **changes}


@pytest.fixture(scope="session")
def demo():
    """The demo's table; its cells keep their composed configs."""
    table = load_table("demo")
    cells = {row: table.cells(row) for row in table.rows}
    return table, cells


@pytest.fixture
def outputs(demo, tmp_path):
    """Eleven of the fifteen runs are there; DiGraP's logged ω."""
    _, cells = demo
    for row, values in ACCURACY.items():
        for cell, accuracy in zip(cells[row], values, strict=False):
            write_json(cell.folder(tmp_path) / "results.json", result(accuracy, cell.seed))
    for cell in cells["DiGraP"]:
        records = [{"event": "train", "step": 1, "loss": 1.0}]
        for step in (10, 20, 30):
            tensors = {
                name: {"omega": step / 100 * scale, "removed": 0.1, "conflict": 0.5}
                for name, scale in (("conv1.weight", 1), ("layer1.0.weight", 2), ("fc.weight", 3))
            }
            records.append({"event": "omega", "epoch": step // 10, "step": step, "tensors": tensors})
        path = cell.folder(tmp_path) / "metrics.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path
