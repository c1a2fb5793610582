"""tools/bench_optim.py measures and prints what it promises; how fast a step is, is no test's business."""

import json
import sys
import types
import weakref

import pytest
import torch
from torch.nn import Parameter

from digrap.cli.bench import measures, optim, race, shapes
from digrap.cli.bench.contenders import BASES, RULES, ours, torchs
from digrap.cli.door import door
from digrap.core.paths import REPO
from digrap.optim.kernels.build import library
from digrap.optim.paths import PATHS
from tests.doors import call

TINY = shapes.Shapes("Tiny", [(40, 30), (7,), (4, 3, 2, 2), ()])
SETTING = race.Setting("adamw", torch.device("cpu"), torch.float32, rounds=2, warmup=1)
MEASURED = {"native", "blocked", "foreach", "loop"} - (set() if library("float") else {"native"})


@pytest.fixture
def bench(monkeypatch, capsys):
    """Call the tool: exit code, stdout, stderr."""
    monkeypatch.setitem(shapes.MODELS, "tiny", lambda: TINY)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench_optim.py", *arguments])
        code = door(optim.main, optim.__doc__)
        return code, *capsys.readouterr()

    return run


def test_the_door_says_how_it_is_called():
    run = call("tools/bench_optim.py", "--help")
    assert run.returncode == 0 and "python tools/bench_optim.py [model=all" in run.stdout


@pytest.mark.parametrize(
    ("model", "tensors", "elements", "anchor"),
    [
        ("lora_3b", 2 * 153, 3_336_192, "zero"),
        ("lora_7b", 2 * 200, 9_568_256, "zero"),
        ("vit_b16", 152, 86_063_961, "init"),
        ("resnet50", 161, 24_214_937, "init"),
    ],
)
def test_shapes_have_the_models_numbers(model, tensors, elements, anchor):
    found = shapes.shapes_of(model)
    assert (len(found.tensors), found.count, found.anchor) == (tensors, elements, anchor)


def test_every_implementation_is_measured_or_said_not_to_be(bench, tmp_path):
    code, out, _ = bench("model=tiny", "rounds=2", "warmup=1", "device=cpu", f"out={tmp_path}/found.json")
    assert code == 0
    found = json.loads((tmp_path / "found.json").read_text())["tiny"]
    rows = {(row["optimizer"], row["implementation"]): row for row in found["rows"]}
    assert {name for name, _ in rows} == {*RULES, "AdamW", "schedule-free AdamW", "memory copy"}
    assert {(name, way) for name in RULES for way in PATHS} <= rows.keys()
    for (name, way), row in rows.items():
        if name in RULES and way not in MEASURED:
            assert row["ratio"] is None and row["note"] == "not measured: not available here"
        elif name in RULES:
            assert row["ratio"] > 0 and row["extra"] >= 0 and row["calls"] > 0 and row["bandwidth"] > 0
    assert rows["AdamW", "fused"]["ratio"] == 1 and rows["memory copy", ""]["bandwidth"] == pytest.approx(1)
    assert rows["AdamW", "fused"]["state"] == pytest.approx(2, rel=0.1) and rows["AdamW", "fused"]["calls"] == 2
    assert [rows[name, "loop"]["bytes"] for name in ("L2-SP", "MARS-SP", "SPD", "FTP", "DiGraP")] == [
        32,
        36,
        44,
        52,
        52,
    ]
    assert rows["DiGraP", "blocked"]["reads"] > 0 == rows["DiGraP", "loop"]["reads"]
    head, table = out.split("\n\n")[:2]
    assert head.startswith("Tiny: 1,256 parameters in 4 tensors, float32; ") and "medians of 2 rounds" in head
    assert len(table.strip().splitlines()) == 2 + len(rows) == 2 + len(found["rows"])
    assert "| DiGraP | triton | not measured: not available here | 52 |" in table


def test_markdown_is_what_was_printed(bench, tmp_path):
    _, out, _ = bench("model=tiny", "rounds=1", "warmup=0", "device=cpu", "base=sgd", f"out={tmp_path}/found.md")
    assert (tmp_path / "found.md").read_text() == out.rstrip("\n") + "\n"
    assert "| SGD | fused | 1.00 | 20 |" in out and "schedule-free" not in out
    assert "| DiGraP, low memory |  | not measured: low_memory=True rebuilds" in out


def test_an_installed_schedule_free_optimizer_is_measured(monkeypatch):
    class AdamWScheduleFree(torch.optim.AdamW):
        ready = False

        def train(self):
            self.ready = True

        def step(self, closure=None):
            assert self.ready
            return super().step(closure)

    monkeypatch.setitem(sys.modules, "schedulefree", types.SimpleNamespace(AdamWScheduleFree=AdamWScheduleFree))
    (row,) = [row for row in race.table(TINY, SETTING, []) if row.optimizer == "schedule-free AdamW"]
    assert row.ratio > 0 and row.bytes == 28


@pytest.mark.parametrize("way", ["native", "blocked", "foreach", "loop"])
def test_the_steps_are_those_of_the_implementation(way):
    if way == "native" and not library("float"):
        pytest.skip("no C++ compiler")
    contender = {one.way: one for one in ours("DiGraP", "adamw", "init", race.Material(TINY, SETTING).params())}[way]
    with contender.chosen():
        assert contender.optimizer.implementation == way
        contender.optimizer.step()
    assert contender.available()


def test_torchs_implementations_are_those_asked_for():
    counts = {}
    for way in ("fused", "foreach", "loop"):
        optimizer = torchs("adamw", way, race.Material(TINY, SETTING).params()).optimizer
        optimizer.step()
        counts[way] = measures.calls(optimizer).count
    assert counts["fused"] == 2 < counts["foreach"] < counts["loop"]


def test_gradients_change_from_round_to_round_and_are_shared():
    material = race.Material(TINY, SETTING)
    first, second = material.params(), material.params()
    assert all(a.grad.data_ptr() == b.grad.data_ptr() for a, b in zip(first, second, strict=True))
    before = [param.grad.clone() for param in first]
    material.give(first, 1)
    for old, param in zip(before, first, strict=True):
        assert param.grad.is_contiguous() and param.grad.shape == param.shape and not torch.equal(old, param.grad)
        assert param.grad.data_ptr() % (4 * race.ALIGN) == material.gradients.data_ptr() % (4 * race.ALIGN)


def test_calls_and_reads_are_counted():
    value, step = torch.ones(3), torch.ones(())
    with measures.Calls([step]) as found:
        value.add_(1).sum().item()
        step.item()
    assert (found.count, found.reads) == (4, 1)
    optimizer = torch.optim.SGD([Parameter(value)], lr=0.1)
    assert measures.calls(optimizer).count == 0  # without gradients a step does nothing


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model=vit_b61", "model=vit_b61: Unknown model (vit_b61); nearest: vit_b16"),
        ("rounds=0", "rounds=0: give a whole number from 1 to 10000"),
        ("dtype=half", "dtype=half: choose one of float32, float64, bfloat16, float16"),
        ("base=adam", "base=adam: choose one of adamw, sgd"),
        ("device=gpu", "device=gpu: choose one of auto, cpu, cuda"),
        ("out=found.csv", "out=found.csv: give a file that ends in .json or .md, in a folder that exists"),
        ("out=/nowhere/found.json", "out=/nowhere/found.json: give a file that ends in .json or .md"),
        ("--chek", "unknown argument '--chek': give key=value"),
    ],
)
def test_bad_arguments_are_one_sentence(bench, argument, message):
    code, out, err = bench(argument)
    assert code == 2 and not out and err.startswith(f"error: {message}") and err.count("\n") == 1


def test_the_documented_bytes_are_those_of_the_tool():
    text = (REPO / "docs" / "performance.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    rows = {cells[0]: cells for cells in lines if len(cells) == 7}
    base = BASES["adamw"].accesses
    for name, rule in RULES.items():
        counted = base + rule.more
        half = "—" if "low memory" in name else str(2 * counted)
        assert rows[name][3:] == [str(counted), str(4 * counted), half, str(4 * (base + rule.more_zero))]
    assert rows["AdamW"][3:6] == [str(base), str(4 * base), str(2 * base)]


def test_memory_holds_one_rule_at_a_time(monkeypatch):
    alive = []

    def remembered(*given):
        assert not any(optimizer() for optimizer in alive)
        contenders = ours(*given)
        alive.append(weakref.ref(contenders[0].optimizer))
        return contenders

    monkeypatch.setattr(race, "ours", remembered)
    race.table(TINY, SETTING, ["SPD", "FTP", "DiGraP"])
    assert len(alive) == 3
