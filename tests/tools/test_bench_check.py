"""tools/bench_optim.py check=true: exit code 1 and a line for each ratio that is too high twice."""

import json
import sys

import pytest

from digrap.cli.bench import check, optim
from digrap.cli.bench.contenders import RULES
from digrap.cli.bench.race import Row
from digrap.cli.door import door


def rows(**ratios):
    """Rows of DiGraP by implementation, and those that a table has besides."""
    others = [Row("AdamW", "fused", 28, 1.0, 40.0), Row("memory copy", "", 8, 0.5, 20.0), Row("SPD", "triton", 44)]
    return others + [Row("DiGraP", way, 52, ratio, 40 * ratio) for way, ratio in ratios.items()]


@pytest.fixture
def bench(monkeypatch, capsys, tmp_path):
    """Call the tool on ready measurements: what each of its measurements finds is given first."""
    monkeypatch.setattr(check, "KEPT", tmp_path / "kept.json")

    def run(measured, *arguments, kept=None):
        check.KEPT.write_text(json.dumps({"where": "a laptop", "margin": 1.25, "ratios": kept or {}}))
        asked = []

        def table(shapes, setting, names=RULES):
            assert shapes.title == "ViT-B/16"
            asked.append(list(names))
            return measured[len(asked) - 1]

        monkeypatch.setattr(optim, "table", table)
        monkeypatch.setattr(sys, "argv", ["bench_optim.py", *arguments])
        try:
            code = door(optim.main, optim.__doc__)
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("load average")]
        return code, out, lines, asked

    return run


@pytest.mark.parametrize("flag", ["--check", "check=true"])
def test_a_measurement_within_all_limits_passes(bench, flag):
    code, out, lines, asked = bench([rows(native=2.0, blocked=3.0, loop=20.0)], flag)
    assert code == 0 and not lines and len(asked) == 1
    assert out.endswith("check: no limit is missed; ratios are kept for 0 implementations\n")


def test_a_limit_that_is_missed_twice_fails(bench):
    code, _, lines, asked = bench([rows(native=2.1, blocked=3.5), rows(native=2.2, blocked=2.9)], "--check")
    assert code == 1 and asked == [list(RULES), ["DiGraP"]]
    assert lines == [
        "measured again: DiGraP",
        "DiGraP, native: 2.20 × torch's fused AdamW; the limit is 2.00",
    ]


def test_a_limit_that_is_missed_once_passes(bench):
    code, out, lines, _ = bench([rows(native=2.1), rows(native=1.9)], "--check")
    assert code == 0 and lines == ["measured again: DiGraP"] and "no limit is missed" in out


def test_a_ratio_above_the_kept_one_and_its_margin_fails(bench):
    kept = {"DiGraP, foreach": 4.0, "DiGraP, loop": 4.0, "AdamW, fused": 1.0, "SPD, triton": 1.0}
    slow = rows(foreach=5.1, loop=4.9)
    code, _, lines, _ = bench([slow, slow], "--check", kept=kept)
    assert code == 1
    assert lines[1:] == [
        "DiGraP, foreach: 5.10 × torch's fused AdamW; the kept ratio is 4.00, 5.00 with its margin (a laptop)"
    ]


def test_kept_ratios_are_those_measured(bench):
    code, out, _, _ = bench([rows(native=1.987, loop=9.0)], "keep=true")
    assert code == 0 and out.endswith(f"kept: {check.KEPT}\n")
    assert check.kept()["ratios"] == {"AdamW, fused": 1.0, "DiGraP, native": 1.99, "DiGraP, loop": 9.0}
    assert not check.misses(rows(native=1.987, loop=9.0), check.kept())


def test_the_repositorys_file_can_be_read():
    assert check.kept()["margin"] == check.MARGIN


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"margin": 1.2, "ratios": {"DiGraP, native": "2"}}'])
def test_a_damaged_file_is_named_before_anything_is_measured(bench, monkeypatch, text, capsys):
    bench([rows()], "--check")
    check.KEPT.write_text(text)
    assert door(optim.main) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {check.KEPT} cannot be used") and "keep=true" in err and err.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["bench_optim.py", "keep=true"])  # the remedy
    monkeypatch.setattr(optim, "table", lambda *_: rows(native=1.9))
    assert door(optim.main) == 0 and check.kept()["ratios"]["DiGraP, native"] == 1.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "model=resnet50"], "check=true measures with model=vit_b16; leave model=resnet50 out"),
        (["keep=true", "base=sgd"], "keep=true measures with base=adamw; leave base=sgd out"),
        (["check=true", "keep=true"], "check=true and keep=true: give only one"),
        (["check=1.5"], "check=1.5: give true or false"),
    ],
)
def test_what_does_not_go_together_is_refused(bench, arguments, message):
    code, out, lines, asked = bench([], *arguments)
    assert code == 2 and not asked and lines[0].startswith(f"error: {message}")
