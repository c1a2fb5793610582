"""The judge: known gains from synthetic answers, and one call from end to end."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.paths import REPO
from digrap.engine import run as engine
from digrap.report.matched_id import Answers, Gain, chosen, front, judge, read_answers, verdict

EXAMPLE = REPO / "examples" / "my_rule.py"


def run(identity, ood, n=1000, validation=0.0, shift=0):
    """A run with exactly these accuracies in percent; `shift` moves which examples are right."""

    def right(percent):
        return np.roll(np.arange(n) < round(n * percent / 100), shift)

    return Answers(right(identity), {"a": right(ood + 5), "b": right(ood - 5)}, validation)


REFERENCE = {
    "zero-shot": [run(70, 80), run(71, 80)],
    "slow": [run(76, 74), run(77, 74)],
    "fast": [run(80, 66), run(81, 66)],
}


def test_gain_is_the_distance_to_the_line():
    contenders = {
        "on it": [run(78, 70), run(79, 70)],
        "above": [run(73, 80), run(74, 79)],  # the line has 77
        "below": [run(78, 67), run(79, 67)],
        "right of it": [run(82, 68), run(81, 68)],  # the nearest end has 66; the second seed lies on it
        "left of it": [run(60, 80), run(60, 80)],
        "a point of it": REFERENCE["slow"],
    }
    gains = judge(REFERENCE, contenders, draws=300)
    expected = {"on it": 0, "above": 2.5, "below": -3, "right of it": 2, "left of it": 0, "a point of it": 0}
    assert {row: pytest.approx(gain.gain, abs=1e-9) for row, gain in gains.items()} == expected
    assert [gain.beyond for gain in gains.values()] == [0, 0, 0, 1, 2, 0]
    assert (gains["above"].identity, gains["above"].ood) == (73.5, 79.5)
    assert all(gain.low <= gain.gain <= gain.high for gain in gains.values())
    assert gains["above"].low < gains["above"].high and gains["above"].seeds == 2


def test_a_point_that_another_beats_is_not_on_the_front():
    identity, ood = front(np.array([80.0, 70.0, 75.0, 80.0]), np.array([60.0, 80.0, 59.0, 61.0]))
    assert (identity.tolist(), ood.tolist()) == ([70, 80], [80, 61])


def test_the_interval_holds_the_truth():
    """Two seeds, answers drawn anew each time around a gain of 3: it is covered nine times in ten, or more often."""
    generator, covered, widths = np.random.default_rng(0), 0, []

    def drawn(identity, ood):
        rates = (identity, ood, ood)
        first, *others = (generator.random(400) < rate for rate in rates)
        return Answers(first, dict(zip("ab", others, strict=True)), 0.0)

    for _ in range(60):
        reference = {row: [drawn(*at) for _ in range(2)] for row, at in {"z": (0.7, 0.8), "v": (0.8, 0.6)}.items()}
        gain = judge(reference, {"mine": [drawn(0.75, 0.73) for _ in range(2)]}, draws=200)["mine"]
        covered += gain.low <= 3 <= gain.high
        widths.append(gain.high - gain.low)
    assert covered >= 54 and np.mean(widths) < 20


def test_pairs_cancel_and_seeds_widen():
    """The same wrong answers as a reference point: no spread at all; seeds that differ widen the interval."""
    same = judge(REFERENCE, {"fast": REFERENCE["fast"]}, draws=200)["fast"]
    assert same.high - same.low < 1e-6
    apart = judge(REFERENCE, {"x": [run(76, 76), run(77, 80)]}, draws=400)["x"]
    alike = judge(REFERENCE, {"x": [run(76, 78), run(77, 78)]}, draws=400)["x"]
    assert apart.gain == pytest.approx(alike.gain) and apart.high - apart.low > 1.3 * (alike.high - alike.low)


def test_it_repeats_and_takes_one_seed():
    one = {row: runs[:1] for row, runs in REFERENCE.items()}
    first, again = (judge(one, {"x": [run(73, 79, shift=3)]}, draws=100) for _ in range(2))
    assert first == again and first["x"].low < first["x"].high


def test_other_examples_are_refused():
    with pytest.raises(DigrapError, match="different examples: .*x"):
        judge(REFERENCE, {"x": [run(73, 79, n=900)] * 2})


def test_the_choice_sees_validation_only():
    rows = {"a": [run(80, 80, validation=70)], "b": [run(10, 10, validation=71)], "c": [run(1, 99, validation=71)]}
    assert chosen(rows) == "b"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1.24, 0.6, 1.8), "verdict: X keeps +1.2 points OOD at matched ID accuracy (95 % +0.6 … +1.8), step 1.9 × "),
        ((-1.0, -2.0, -0.1), "verdict: X is worse: −1.0 points OOD at matched ID accuracy (95 % −2.0 … −0.1), step 1."),
        ((0.2, -0.4, 0.7), "verdict: X makes no difference at matched ID accuracy that 2 seeds can show (+0.2 points"),
    ],
)  # fmt: skip
def test_the_verdict_is_one_line(numbers, text):
    line = verdict("X", Gain(80.0, 70.0, *numbers, beyond=0, seeds=2), 1.9)
    assert line.startswith(text) and "\n" not in line


# --- end to end -------------------------------------------------------------------------------------------------


def script():
    spec = importlib.util.spec_from_file_location("judge_script", REPO / "scripts" / "judge.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_from_end_to_end(small_arguments, tmp_path, monkeypatch, capsys):
    """All runs but one are there already; judge makes that one with train.py."""
    judge_script, tiny = script(), [*small_arguments, "trainer.epochs=1", "trainer.validate_every=1"]
    given = [f"method={EXAMPLE}", "options.pull=2.0", "seeds=4", "jobs=2", f"outputs={tmp_path}", *tiny]
    options = judge_script.arguments(given)
    rule = options.rule
    assert options.extra == tiny and options.seeds == [4] and rule[-1] == "++optim.options.pull=2.0"
    for overrides in (*judge_script.REFERENCE.values(), (*rule, "trainer.base.lr=3e-4"), *judge_script.OTHERS.values()):
        cell = judge_script.Cell("", 4, (*tiny, *overrides, "seed=4"))
        engine.run(cell.config, cell.folder(tmp_path))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["judge.py", *given])
    assert judge_script.door(judge_script.main) == 0
    printed = capsys.readouterr().out
    assert "7 of 8 runs are there, 1 to make" in printed and "Pilot: seeds below 100" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("verdict: ")]
    written = json.loads((tmp_path / "judge" / "my_rule.json").read_text())
    assert written["verdict"] == line and written["source"] == EXAMPLE.read_text() and written["pilot"]
    assert written["rule"] == rule and len(written["rows"]) == 8
    mine = written["rows"]["PullBack at lr 1e-3"]
    assert mine["low"] <= mine["gain"] <= mine["high"] and mine["step"] > 0.5
    assert "gain" not in written["rows"]["zero-shot"] and written["rows"]["WiSE-FT, α = 0.5"]["step"] is None
    folder = tmp_path / mine["runs"][0]
    result = json.loads((folder / "results.json").read_text())
    kinds = {name: score["kind"] for name, score in result["scores"].items()}
    assert mine["id"] == pytest.approx(result["scores"]["real"]["accuracy"])
    assert 100 * read_answers(folder, kinds).ood["sketch"].mean() == pytest.approx(
        result["scores"]["sketch"]["accuracy"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "method is not given"),
        (["method=not_there.py"], "not_there.py: there is no such file"),
        ([f"method={EXAMPLE}", "options.pul=1"], "unexpected keyword argument 'pul'"),
        ([f"method={EXAMPLE}", "seed=1"], "seed=1: seed is not for you to set here"),
        ([f"method={EXAMPLE}", "seeds=a"], "whole numbers"),
        ([f"method={EXAMPLE}", "trainer.epoch=1"], "nearest: trainer.epochs"),
    ],
)
def test_wrong_calls_are_one_message(arguments, message, tmp_path, monkeypatch, capsys):
    judge_script = script()
    monkeypatch.setattr(sys, "argv", ["judge.py", *arguments, *([f"outputs={tmp_path}"] if arguments else [])])
    assert judge_script.door(judge_script.main) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.fixture
def pretended(monkeypatch):
    """Judge's script whose processes end at their second look and only write a file down; the list of what happened."""
    judge_script, events = script(), []

    class Pretended:
        def __init__(self, cell, outputs):
            self.cell, self.outputs, self.looks = cell, outputs, 0
            events.append(("start", cell.row))

        def ended(self):
            self.looks += 1
            return self.looks > 1

        def seconds(self):
            return 1.0

        def check(self, outputs):
            if self.cell.row == "bad":
                raise DigrapError("it failed")
            events.append(("done", self.cell.row))
            write_json(self.cell.folder(outputs) / "results.json", {})

        def end(self):
            events.append(("end", self.cell.row))

    monkeypatch.setattr(judge_script, "Process", Pretended)
    return judge_script, events


def test_runs_wait_for_what_they_go_on_from(pretended, tmp_path):
    judge_script, events = pretended
    rows = {"wise": judge_script.OTHERS["WiSE-FT, α = 0.5"], **judge_script.REFERENCE}
    cells = [judge_script.Cell(row, 7, (*overrides, "seed=7")) for row, overrides in rows.items()]
    judge_script.make(cells, tmp_path, 2)
    assert events[:2] == [("start", "zero-shot"), ("start", "vanilla, lr 1e-3")]
    assert events.index(("start", "wise")) > events.index(("done", "vanilla, lr 1e-3")) and len(events) == 8
    judge_script.make(cells, tmp_path, 2)
    assert len(events) == 8


def test_the_others_end_with_one_that_fails(pretended, tmp_path):
    judge_script, events = pretended
    cells = [judge_script.Cell(row, 7, ("optim=zero_shot", f"seed={7 + k}")) for k, row in enumerate(["bad", "x", "y"])]
    with pytest.raises(DigrapError, match="it failed"):
        judge_script.make(cells, tmp_path, 2)
    assert events == [("start", "bad"), ("start", "x"), ("end", "x")]


def test_a_run_that_fails_is_told(small_arguments, tmp_path):
    """The rule spoils its weights: its last words and the command come out, the other runs stay."""
    file = tmp_path / "spoilt.py"
    file.write_text("import torch\nclass Spoilt(torch.optim.SGD):\n    def step(self, closure=None):\n        oh\n")
    judge_script = script()
    overrides = judge_script.arguments([f"method={file}"]).rule
    cell = judge_script.Cell("Spoilt", 4, (*small_arguments, *overrides, "seed=4"))
    with pytest.raises(
        DigrapError, match=r"(?s)the run of Spoilt, seed 4 failed:.*name 'oh'.*again alone: python train.py"
    ):
        judge_script.make([cell], tmp_path / "outputs", 2)
