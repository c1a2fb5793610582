"""A synthetic outputs tree with known numbers and the predictions that give them."""

import importlib
import json
import math

import numpy as np
import pytest

from digrap.config.schema import split_kinds
from digrap.core.files import write_json, write_text
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import write_bundle
from digrap.tables import spec
from digrap.tables.spec import Table, load_table

SPLITS = ("real", "clipart", "sketch", "painting", "infograph", "quickdraw")
VALIDATION = "real_val"
N = 100  # examples a split
# row → ID accuracy by seed; OOD split k (1 to 5) has that less 10 k.
ACCURACY = {
    "zero-shot": [70, 71, 72],
    "vanilla, lr 1e-3": [80, 82, 84],
    "vanilla, lr 3e-4": [78, 79],
    "DiGraP": [81, 82, 83],
}


def result(scores, seed, identity="0000000000", **changes):
    """A results.json from {split: (kind, n, accuracy)}."""
    named = {name: {"kind": kind, "n": n, "accuracy": accuracy} for name, (kind, n, accuracy) in scores.items()}
    versions = {"torch": "2.15.0", "timm": "1.0.31"}
    made = {"commit": "0123456789abcdef", "dirty": False, "device": "cpu", "versions": versions}
    facts = {"schema": 1, "hash": identity, "dataset": "minidomainnet", "backbone": "mini_resnet", "method": "m"}
    facts |= {"metric": "accuracy", "weights": None}
    chosen = {"split": VALIDATION, "epoch": 1, "score": scores[VALIDATION][2]}
    return {**facts, "seed": seed, "selection": chosen, "scores": named, **made, **changes}


def truth(seed):
    """The labels of a seed's splits."""
    random = np.random.RandomState(seed)
    return {split: {"label": random.randint(0, 45, N)} for split in (*SPLITS, VALIDATION)}


def answers(right, labels):
    """Predictions that get the first right[split] examples of every split."""
    predictions = {}
    for split, count in right.items():
        label = labels[split]["label"]
        prediction = np.where(np.arange(N) < count, label, (label + 1) % 45)
        predictions[split] = {"prediction": prediction, "probability": np.full(N, 0.5, np.float32)}
    return predictions


def write_run(cell, outputs, accuracy, validation=50, ood=None, **changes):
    """A finished run of a cell whose ID test has `accuracy` of 100 right, OOD split k that, or `ood`, less 10 k."""
    folder, labels = cell.folder(outputs), truth(cell.seed)
    base = accuracy if ood is None else ood
    right = {VALIDATION: validation} | {split: base - 10 * k for k, split in enumerate(SPLITS)} | {SPLITS[0]: accuracy}
    kinds = split_kinds(cell.config)
    folder.mkdir(parents=True, exist_ok=True)
    write_bundle(folder / "predictions.npz", answers(right, labels), labels)
    scores = {split: (kinds[split], N, float(count)) for split, count in right.items()}
    write_json(folder / "results.json", result(scores, cell.seed, folder.name, **changes))
    return folder


def write_soft_run(cell, outputs, gain, ids="question"):
    """A finished run of a cell that answers questions: texts with soft scores by three scorers, better by `gain`
    tenths an example; `ids` is the prefix of the questions' ids."""
    folder, kinds, n = RunFolder(cell.folder(outputs)), split_kinds(cell.config), 60
    random, splits, scores = np.random.RandomState(cell.seed), {}, {}
    for split in (VALIDATION, *SPLITS):
        official = np.minimum(random.choice([0.0, 0.3, 0.6, 0.9], n) + gain / 10, 1.0)
        found = {"official2021": official, "official2017": np.minimum(official + 0.1, 1.0), "m4c": official**2}
        words = [f"answer {place}" for place in range(n)]
        splits[split] = {"prediction": words} | {f"score.{name}": values for name, values in found.items()}
        means = {name: 100 * math.fsum(values) / n for name, values in found.items()}
        scores[split] = {"kind": kinds[split], "n": n, **means}
    write_bundle(folder.predictions_file, splits, {name: {"id": [f"{ids} {k}" for k in range(n)]} for name in splits})
    validation = scores[VALIDATION]["official2021"]
    plain = result({VALIDATION: ("id_val", n, validation)}, cell.seed, folder.path.name, metric="official2021")
    folder.write_results(plain | {"scores": scores})
    return folder.path


def script(name):
    """The module behind a file of scripts/."""
    return importlib.import_module(f"digrap.cli.{name}")


@pytest.fixture
def demo(quick):
    """The demo's table, and its cells by row."""
    table = load_table("demo")
    return table, {row: [table.cell(row, seed) for seed in table.seeds] for row in table.rows}


@pytest.fixture
def outputs(demo, tmp_path, quick):
    """Eleven of the fifteen runs are there; DiGraP's logged statistics of layers."""
    _, cells = demo
    for row, values in ACCURACY.items():
        for cell, accuracy in zip(cells[row], values, strict=False):
            write_run(cell, tmp_path, accuracy)
    for cell in cells["DiGraP"]:
        records = [{"event": "train", "step": 1, "loss": 1.0}]
        for step in (10, 20, 30):
            tensors = {
                name: {"norm": step * scale, "relative": None, "omega": step / 100 * scale, "removed": 0.1}
                for name, scale in (("conv1.weight", 1), ("layer1.0.weight", 2), ("fc.weight", 3))
            }
            records.append({"event": "layers", "epoch": step // 10, "step": step, "tensors": tensors})
        path = cell.folder(tmp_path) / "metrics.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


SMALL = """
title: A small table
overrides: [dataset=minidomainnet, dataset.splits.infograph.kind=far_ood, dataset.splits.quickdraw.kind=far_ood]
seeds: [100, 101]
search: {seeds: [100], rule: best}
baseline: vanilla
targets: {source: "Table 1 of the paper, p. 7", values: {vanilla: {real: 82.04, OOD mean: 40}}}
rows:
  zero-shot: [optim=zero_shot]
  vanilla: {overrides: [optim=vanilla], grid: {trainer.base.lr: [3e-4, 1e-3]}}
  DiGraP: [optim=digrap]
"""


@pytest.fixture
def small_table(tmp_path, monkeypatch, quick):
    """A table with a search, near and far OOD and targets, and its outputs, complete: DiGraP is best throughout."""
    monkeypatch.setattr(spec, "CONFIGS", tmp_path / "configs")
    write_text(tmp_path / "configs" / "tables" / "small.yaml", SMALL)
    table, outputs = load_table("small"), tmp_path / "outputs"
    for seed, gain in ((100, 0), (101, 2)):
        write_run(table.cell("zero-shot", seed), outputs, 50 + gain)
        write_run(table.cell("vanilla", seed, ("trainer.base.lr=1e-3",)), outputs, 70 + gain, validation=60)
        write_run(table.cell("DiGraP", seed), outputs, 90 + gain)
    write_run(table.cell("vanilla", 100, ("trainer.base.lr=3e-4",)), outputs, 99, validation=40)
    return table, outputs


CELLS = {}


@pytest.fixture
def quick(monkeypatch):
    """Composing a config takes 0.15 s; every test of this process shares the composed ones."""
    plain = Table.cell

    def cell(self, row, seed, chosen=()):
        made = plain(self, row, seed, chosen)
        return CELLS.setdefault((made.row, made.overrides), made)

    monkeypatch.setattr(Table, "cell", cell)
